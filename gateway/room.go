package gateway

import (
	"fmt"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// envelopeRoom is what a message needs beside its frames, bytes: the header of maxShared
// frames or of one with its source, whose name may be escaped.
const envelopeRoom = 8 << 10

// messageRoom is how many bytes of audio one message on the bus may hold.
func (s *session) messageRoom() int {
	most := int(s.srv.nc.MaxPayload()) // counts header and payload
	return max(most-envelopeRoom, most/2)
}

// tooBig refuses a frame that no message holds. It keeps its number, so that the ledger has it.
func (s *session) tooBig(r *received) {
	most := s.snd.room
	s.srv.metrics.refused.WithLabelValues(subjects.RefusedTooBig).Inc()
	s.warn(dialect.Note{
		Code: subjects.RefusedTooBig, Tag: r.tag, Field: "media.payload", Allowed: fmt.Sprintf("%d bytes", most),
		Message: fmt.Sprintf("a frame of %d bytes of source %.64q is not transcribed, the bus takes at most %d", len(r.payload), r.tag, most),
	})
	r.tooBig, r.payload = true, nil
}
