package gateway

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
)

// stored is one message of the results log.
type stored struct {
	seq, prev uint64
	envelope  subjects.Envelope
	data      []byte
}

// tail follows one session's results log in its order. Republished messages may be
// lost; a hole is then read from the store. The session's loop owns it.
type tail struct {
	cursor  uint64 // sequence of the last result delivered
	seen    uint64 // highest sequence known to exist
	reading bool   // a read of the store is under way
	placed  bool   // it is known where to begin
}

// place says where the tail begins.
func (t *tail) place(cursor uint64) { t.cursor, t.placed = cursor, true }

// offer takes a republished message and reports whether it is the next one. If it is
// not, the tail knows of a hole.
func (t *tail) offer(m stored) bool {
	if m.seq <= t.cursor {
		return false
	}
	t.seen = max(t.seen, m.seq)
	if t.reading || m.prev > t.cursor {
		return false // the read in the store brings it
	}
	t.cursor = m.seq
	return true
}

// behind tells whether results are known to exist that were not delivered. Before it is
// known where to begin there is nothing to deliver.
func (t *tail) behind() bool { return t.placed && t.seen > t.cursor }

// fromRepublished reads a result as the stream sent it on.
func fromRepublished(m *nats.Msg) (stored, error) {
	var s stored
	var err1, err2 error
	s.seq, err1 = strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	s.prev, err2 = strconv.ParseUint(m.Header.Get(jetstream.LastSequenceHeader), 10, 64)
	s.data = m.Data
	return s, errors.Join(err1, err2, s.envelope.ParseMsg(m))
}

// readStore reads a session's results after a sequence, in order, until there is no
// more or visit says stop. It asks the stream's leader, one message at a time.
func readStore(ctx context.Context, results *subjects.Results, id subjects.SessionID, after uint64, visit func(stored) bool) error {
	for {
		one, cancel := context.WithTimeout(ctx, 5*time.Second)
		m, err := results.Next(one, id, after)
		cancel()
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		s := stored{seq: m.Sequence, prev: after, data: m.Data}
		after = m.Sequence
		if err := s.envelope.ParseMsg(&nats.Msg{Header: m.Header, Data: m.Data}); err != nil {
			continue // not ours: nothing that a reader of the log could deliver
		}
		if !visit(s) {
			return nil
		}
	}
}
