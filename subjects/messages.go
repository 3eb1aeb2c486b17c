package subjects

import (
	"encoding/json"
	"fmt"
	"time"
)

// Source describes one stream of audio in a session: a speaker, a track, a channel.
type Source struct {
	Source     uint32 `json:"source"`             // number, from 1, never reused in a life
	Name       string `json:"name"`               // the client's name of it
	Encoding   string `json:"encoding"`           // opus, ogg-opus, l16, mulaw or alaw
	SampleRate int    `json:"sample_rate"`        // samples/s
	Channels   int    `json:"channels"`           // 1 or more
	Language   string `json:"language,omitempty"` // BCP 47 tag; empty: the session's
}

// Skip is the payload of skip: numbers that were given out but will never be sent.
type Skip struct {
	Reason string `json:"reason"` // see RefusedWindow and its siblings
	Runs   []Run  `json:"runs"`   // what the numbers were, in their order; the counts add up to the range
}

// Run is a number of entries in a row that belong to one source.
type Run struct {
	Source uint32 `json:"source"` // 0: session control, no frames
	Count  uint64 `json:"count"`
}

// Reasons for which an accepted frame is refused, as the ledger counts them.
const (
	RefusedWindow      = "window"        // the gateway's window was full: the frame was given up before a result covered it
	RefusedLost        = "lost"          // the gateway that held it is gone
	RefusedUndecodable = "undecodable"   // the audio could not be decoded
	RefusedEngine      = "engine"        // every engine failed on it
	RefusedTooBig      = "frame_too_big" // no message on the bus holds it
)

// End is the payload of end.
type End struct {
	Reason   string         `json:"reason"`             // why the session ends, see EndClient and its siblings
	Accepted Counts[uint64] `json:"accepted"`           // by source: frames that the gateway numbered
	Replayed Counts[uint64] `json:"replayed,omitempty"` // by source: how often this attach's gateway sent a frame again
}

// Reasons for which a session ends.
const (
	EndClient      = "client_end"      // the client said so, or closed its socket cleanly
	EndGrace       = "grace_expired"   // the client's connection broke and it did not come back
	EndGatewayLost = "gateway_lost"    // no gateway spoke for the session any more
	EndRefused     = "refused"         // the gateway gave the session up: bad input or a limit
	EndWorker      = "worker_stopping" // the worker stopped and nobody took the session over
)

// GatewayQuiet is how much longer than a session's grace its worker waits for a gateway
// that says nothing. Gateways speak at least thrice in that time.
const GatewayQuiet = 3 * time.Second

// Announce is the payload of announce: the state of the sources just before its number.
type Announce struct {
	Sources []Source       `json:"sources"`
	First   uint64         `json:"first,omitempty"`  // number with which this gateway began, where another one numbered before it
	Before  Counts[uint64] `json:"before,omitempty"` // by source: frames that were numbered before first
}

// Ready is the payload of ready: the session is this worker's, send.
type Ready struct {
	Worker   string         `json:"worker"`             // the worker's id
	Probe    string         `json:"probe"`              // request here is answered while the worker lives; outside transcribe.>
	Next     uint64         `json:"next"`               // number expected next; 0: the first not covered
	Covered  Counts[uint64] `json:"covered,omitempty"`  // by source: last frame that stored results cover
	Sources  []Source       `json:"sources,omitempty"`  // sources known to this worker
	Accepted Counts[uint64] `json:"accepted,omitempty"` // by source: frames taken in this life
	Packets  Counts[int64]  `json:"packets,omitzero"`   // by source: the client's own number of the last packet taken; nil: unknown
	AtMS     int64          `json:"at_ms"`              // the session clock at the newest frame, ms
	Log      uint64         `json:"log"`                // sequence of the last stored result
	Begin    uint64         `json:"begin"`              // last sequence of the log before this life, 0 if none
}

// Release is the payload of release.
type Release struct {
	Worker string `json:"worker"`
	Reason string `json:"reason"`           // MoveDraining, MoveEngine or MoveEnded
	Detail string `json:"detail,omitempty"` // for people
}

// Reasons of a release, also of a move.
const (
	MoveDraining = "worker_draining" // the worker shuts down
	MoveEngine   = "engine_failed"   // its engine failed and its retries are used up
	MoveGone     = "worker_gone"     // nobody answers at the worker's probe
	MoveEnded    = "life_ended"      // this life is over in the log: claim anew
	MoveSilent   = "worker_silent"   // the worker neither answers its probe nor acknowledges
)

// Word is one word of a hypothesis, on the session clock.
type Word struct {
	Text       string  `json:"text"`
	StartMS    int64   `json:"start_ms"`
	EndMS      int64   `json:"end_ms"`
	Confidence float64 `json:"confidence,omitempty"` // 0 to 1; absent: unknown
}

// Utterance is what interims and finals have in common.
type Utterance struct {
	Source     uint32  `json:"source"`
	Name       string  `json:"name"`      // the client's name of the source
	Utterance  string  `json:"utterance"` // id shared by a final and its interims
	Text       string  `json:"text"`
	StartMS    int64   `json:"start_ms"` // on the session clock
	EndMS      int64   `json:"end_ms"`
	FirstFrame uint64  `json:"first_frame"` // number of the first frame heard in it
	LastFrame  uint64  `json:"last_frame"`  // and of the last
	Confidence float64 `json:"confidence,omitempty"`
	Words      []Word  `json:"words,omitempty"`
	Language   string  `json:"language,omitempty"`
	Speaker    string  `json:"speaker,omitempty"`
}

// Interim is the payload of interim: the current hypothesis of a source. The latest wins.
type Interim struct {
	Utterance
}

// Progress is in every message of the results log: output and checkpoint are one message.
type Progress struct {
	Begin   uint64                       `json:"begin"`             // last sequence of the log before this life, 0 if none
	Finals  uint64                       `json:"finals"`            // finals of this life so far, this one included
	Covered Counts[uint64]               `json:"covered"`           // by source: last frame covered or refused
	Frames  Counts[uint64]               `json:"frames"`            // by source: how many frames are covered
	Packets Counts[int64]                `json:"packets,omitempty"` // by source: the client's own number of the last packet covered
	Refused map[uint32]map[string]uint64 `json:"refused,omitempty"` // by source and reason: how many were refused

	Sources   []Source `json:"sources,omitempty"`    // every source of the life; absent: as in the message SourcesAt
	SourcesAt uint64   `json:"sources_at,omitempty"` // sequence of the last message that carries Sources
}

// Owner is the payload of owner: from here on the results are this worker's.
type Owner struct {
	Progress
	Worker string `json:"worker"`
	Engine string `json:"engine"`
	Reason string `json:"reason"`        // open, resume or the reason of the move
	Why    string `json:"why,omitempty"` // how the worker was chosen, for people; at most MaxWhy bytes
}

// Final is the payload of final.
type Final struct {
	Progress
	Utterance
	Number uint64 `json:"n"` // number of this final in its life, from 1
}

// Mark is the payload of mark: frames are covered and held no words.
type Mark struct {
	Progress
	Source     uint32 `json:"source"`
	FirstFrame uint64 `json:"first_frame"`
	LastFrame  uint64 `json:"last_frame"`
}

// Ended is the payload of ended. Unaccounted is accepted - covered - refused and is 0.
type Ended struct {
	Progress
	Access                        // who may read the end of this life after it
	Reason      string            `json:"reason"`
	Accepted    Counts[uint64]    `json:"accepted,omitempty"` // absent where no gateway was left to say it
	Replayed    Counts[uint64]    `json:"replayed,omitempty"` // as in End
	Names       map[uint32]string `json:"names,omitempty"`    // the client's names of the sources
	Unaccounted int64             `json:"unaccounted"`
}

// Decode reads a payload into its type, naming the kind where it can't.
func Decode[T any](kind Kind, payload []byte) (T, error) {
	var v T
	if err := json.Unmarshal(payload, &v); err != nil {
		return v, fmt.Errorf("%w: payload of %s: %w", ErrMessage, kind, err)
	}
	return v, nil
}

// Encode writes a payload. The types of this package always encode.
func Encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("subjects: encode %T: %v", v, err)) // a type that cannot be encoded is a bug of this package
	}
	return b
}
