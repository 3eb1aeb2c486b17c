package subjects

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Results is the results log of a bus: one stream, or several that each have some of the
// sessions. A session is always in the same one, so sequences and cursors are those of
// its stream.
type Results struct {
	split   Split
	streams []jetstream.Stream // by part
}

// Split is over how many streams the log is split, 0 where it is not.
func (r *Results) Split() Split { return r.split }

// Streams are those of the log, the first being ResultsStream.
func (r *Results) Streams() []jetstream.Stream { return r.streams }

// Stream is the one that has a session's results.
func (r *Results) Stream(id SessionID) jetstream.Stream { return r.streams[r.split.part(id)-1] }

// Subject is where a session's worker publishes its results.
func (r *Results) Subject(id SessionID) string { return r.split.Place(id).Subject }

// Place is where a session's results are.
func (r *Results) Place(id SessionID) LogPlace { return r.split.Place(id) }

// Tell is what an assign says of a session's results: nil where the log is not split.
func (r *Results) Tell(id SessionID) *LogPlace {
	if r.split == 0 {
		return nil
	}
	p := r.Place(id)
	return &p
}

// Last is the last message of a session's results log, jetstream.ErrMsgNotFound where it
// has none.
func (r *Results) Last(ctx context.Context, id SessionID) (*jetstream.RawStreamMsg, error) {
	return r.Stream(id).GetLastMsgForSubject(ctx, r.Subject(id))
}

// Next is a session's first message after a sequence, jetstream.ErrMsgNotFound where
// there is none.
func (r *Results) Next(ctx context.Context, id SessionID, after uint64) (*jetstream.RawStreamMsg, error) {
	return r.Stream(id).GetMsg(ctx, after+1, jetstream.WithGetMsgSubject(r.Subject(id)))
}

// OpenResults finds the results log of a bus, however it is split, and creates nothing.
func OpenResults(ctx context.Context, js jetstream.JetStream) (*Results, error) {
	first, err := js.Stream(ctx, ResultsStream)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", ResultsStream, err)
	}
	n, err := splitOf(first.CachedInfo().Config.Subjects)
	if err != nil {
		return nil, err
	}
	r := &Results{split: n, streams: []jetstream.Stream{first}}
	for part := 2; part <= n.Count(); part++ {
		s, err := js.Stream(ctx, n.stream(part))
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", n.stream(part), err)
		}
		r.streams = append(r.streams, s)
	}
	return r, nil
}

// ensureResults makes the first stream first: of those who disagree about the split one
// creates it, and all others find it.
func ensureResults(ctx context.Context, js jetstream.JetStream, cfg BusConfig) (*Results, error) {
	if !cfg.Split.valid() {
		return nil, fmt.Errorf("%w: a results log of %d streams, allowed are 1 to %d", ErrIncompatible, cfg.Split, MaxSplit)
	}
	r := &Results{split: cfg.Split.normal()}
	for part := 1; part <= r.split.Count(); part++ {
		s, err := ensureStream(ctx, js, resultsConfig(cfg, part))
		if part == 1 && errors.Is(err, ErrIncompatible) {
			err = explainSplit(s, r.split, err)
		}
		if err != nil {
			return nil, err
		}
		r.streams = append(r.streams, s)
	}
	return r, nil
}

// explainSplit says it in the operator's terms where the split is what differs.
func explainSplit(s jetstream.Stream, want Split, err error) error {
	have, unknown := splitOf(s.CachedInfo().Config.Subjects)
	if unknown != nil || have == want {
		return err
	}
	return fmt.Errorf("%w: the results log of this bus has %d streams (%s stores %s), this program was told %d (--bus-results-streams): all roles need the same number, and a log keeps the one it was made with",
		ErrIncompatible, have.Count(), ResultsStream, have.stored(1), want.Count())
}

func resultsConfig(cfg BusConfig, part int) jetstream.StreamConfig {
	n := cfg.Split
	return jetstream.StreamConfig{
		Name:        n.stream(part),
		Description: "Stenobus: what was recognised, and by whom, in one order per session",
		Subjects:    []string{n.stored(part)},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Replicas:    cfg.Replicas,
		Placement:   cfg.placement(),
		MaxAge:      cfg.ResultsAge,
		MaxBytes:    max(cfg.ResultsBytes/int64(n.Count()), 1),
		// A full store that discarded old messages would eat other sessions' data.
		Discard:              jetstream.DiscardNew,
		DiscardNewPerSubject: true,
		MaxMsgsPerSubject:    cfg.ResultsEach,
		RePublish: &jetstream.RePublish{
			Source:      n.stored(part),
			Destination: inboxPrefix + "{{wildcard(1)}}." + string(ChannelResult),
		},
		// Direct gets may be answered by a stale follower, and a checkpoint must not be.
		AllowDirect: false,
	}
}
