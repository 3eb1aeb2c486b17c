package lab

import (
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"stenobus/worker/engine/tally"
)

// ear is what a session's client heard, on all its connections together. It does no
// I/O and needs a lock around it.
type ear struct {
	session string
	token   string
	worker  string
	finals  []final  // in the order in which they came
	cursor  uint64   // of the latest of them
	epochs  []uint64 // by source: of the newest interim, with its life above
	lives   []uint64
	interim time.Time // when the last one came
	widest  time.Duration
	ended   bool
	told    map[string]uint64 // by source: frames accepted, as the end says
	refused uint64            // as the end says
	notice  string            // the last complaint of a gateway
}

// final is what is kept of one: enough to find it in the store.
type final struct {
	cursor uint64
	sum    uint64 // of source and text
}

func newEar(session string, sources int) *ear {
	return &ear{session: session, epochs: make([]uint64, sources+1), lives: make([]uint64, sources+1)}
}

// sumOf makes finals comparable that carry the same words of the same source.
func sumOf(source, text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(source)) // never fails
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(text))
	return h.Sum64()
}

// sound is what one message came to, for those who watch.
type sound struct {
	final   bool
	interim bool
	event   string
	packets map[string]int64
	covers  result // of a final
}

// hear takes one message.
func (e *ear) hear(b []byte, now time.Time) (s sound, found []Wrong, err error) {
	h, err := parseHeard(b)
	if err != nil {
		return s, nil, err
	}
	if h.ResumeToken != "" {
		e.token = h.ResumeToken
	}
	n := h.Stenobus
	if n == nil {
		return s, nil, nil
	}
	switch n.Type {
	case "final":
		life, epoch := ownerOf(n.ID)
		s.final, s.covers = true, result{life: life, epoch: epoch, source: sourceOf(n.Source), last: lastFrame(n.Text)}
		return s, e.final(n.Source, n.Text, n.Cursor), nil
	case "interim":
		s.interim = true
		return s, e.hearInterim(n.Source, n.ID, now), nil
	}
	s.event, s.packets = n.Event, n.Packets
	switch n.Event {
	case "ready", "moved", "resumed":
		e.worker = n.Worker
	case "ended":
		e.ended, e.told, e.refused = true, n.Accepted, 0
		for _, c := range n.Refused {
			e.refused += c
		}
		if n.Unaccounted != nil && *n.Unaccounted != 0 {
			found = append(found, wrong(FrameUnaccounted, uint64(max(*n.Unaccounted, -*n.Unaccounted)), "%s: the end says that %d frames are unaccounted for", e.session, *n.Unaccounted))
		}
	case "warning", "error", "waiting":
		e.notice = n.Code + ": " + n.Message
	}
	return s, found, nil
}

// lastFrame is the highest numbered frame that a text states, 0 for none.
func lastFrame(text string) (last uint64) {
	st, err := tally.Parse(text)
	if err != nil {
		return 0
	}
	for _, r := range st.Audio {
		last = max(last, r.Last)
	}
	return last
}

func (e *ear) final(source, text string, cursor uint64) (found []Wrong) {
	f := final{cursor, sumOf(source, text)}
	if last := e.cursor; cursor <= last {
		if slices.ContainsFunc(e.finals, func(g final) bool { return g.cursor == cursor }) {
			return []Wrong{wrong(FinalDoubled, 1, "%s %s: the final at cursor %d came again after %d: %.80s", e.session, source, cursor, last, text)}
		}
		found = append(found, wrong(FinalDisordered, 1, "%s %s: the final at cursor %d came after that at %d: %.80s", e.session, source, cursor, last, text))
	}
	e.finals = append(e.finals, f)
	e.cursor = max(e.cursor, cursor)
	return found
}

// hearInterim refuses one of an earlier owner than that of the one before.
func (e *ear) hearInterim(source, id string, now time.Time) (found []Wrong) {
	if !e.interim.IsZero() {
		e.widest = max(e.widest, now.Sub(e.interim))
	}
	e.interim = now
	i := sourceOf(source)
	if i <= 0 || i >= len(e.epochs) {
		return []Wrong{wrong(InterimStale, 1, "%s: an interim of source %q, which is not its own", e.session, source)}
	}
	life, epoch := ownerOf(id)
	switch {
	case life > e.lives[i], life == e.lives[i] && epoch >= e.epochs[i]:
		e.lives[i], e.epochs[i] = life, epoch
		return nil
	}
	return []Wrong{wrong(InterimStale, 1, "%s %s: interim %s came after one of life %d epoch %d", e.session, source, id, e.lives[i], e.epochs[i])}
}

// complaint is the last notice, to be added to an error.
func (e *ear) complaint() string {
	if e.notice == "" {
		return ""
	}
	return fmt.Sprintf(" (%s)", e.notice)
}
