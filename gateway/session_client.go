package gateway

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
	"stenobus/subjects/safeguard"
)

const noticeEvery = 10 * time.Second // one kind of complaint, to log and client

func freshNonce() string { return uuid.NewString() }

// hangup is how a client's connection ended.
type hangup int

const (
	hangupBroken hangup = iota
	hangupClean
	hangupTooBig
)

// pingTimeout is the reason with which the Jitsi bridge closes (with 1000) a connection
// on which a pong was late. It comes back at once, so it has not left.
const pingTimeout = "Ping timeout"

func hangupOf(err error) hangup {
	if errors.Is(err, errTooBig) {
		return hangupTooBig
	}
	if frame := (websocket.CloseError{}); errors.As(err, &frame) && frame.Reason == pingTimeout {
		return hangupBroken
	}
	switch websocket.CloseStatus(err) {
	case websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusNoStatusRcvd:
		return hangupClean
	}
	return hangupBroken
}

// detach keeps the session for a client whose connection broke.
func (s *session) detach(err error) {
	if s.over {
		return
	}
	s.away = true
	s.clock.idle = time.Time{}
	s.log.Info("client is away", "grace", s.srv.cfg.Grace, "why", err)
	s.clock.grace = time.Now().Add(s.srv.cfg.Grace)
}

// republished takes a result that the stream has stored and sent on.
func (s *session) republished(ctx context.Context, m *nats.Msg) {
	r, err := fromRepublished(m)
	if err != nil {
		s.srv.metrics.bad.Inc()
		s.grumble("result refused", err)
		return
	}
	switch {
	case s.stamp.Life == 0 || r.envelope.Life < s.stamp.Life && !safeguard.LifeOff:
		return // ready tells where this life begins
	case r.envelope.Life > s.stamp.Life:
		s.close(endSuperseded)
		return
	}
	if !s.tail.placed { // ready has not come yet
		s.tail.seen = max(s.tail.seen, r.seq)
		return
	}
	if s.tail.offer(r) {
		s.deliver(ctx, r)
	} else if s.tail.behind() {
		s.readMissed(ctx)
	}
}

// expectResult reads the store if a result that is known to exist does not come soon.
func (s *session) expectResult() {
	if s.clock.late.IsZero() && s.tail.behind() {
		s.clock.late = time.Now().Add(resultLag)
	}
}

// readMissed reads from the store what was not delivered.
func (s *session) readMissed(ctx context.Context) {
	if s.tail.reading || s.srv.results == nil {
		return
	}
	s.tail.reading = true
	after := s.tail.cursor
	s.srv.metrics.repairs.Inc()
	s.srv.wg.Go(func() {
		err := readStore(ctx, s.srv.results, s.id, after, func(m stored) bool {
			return s.post(func(ctx context.Context) { s.repaired(ctx, m) })
		})
		s.post(func(context.Context) { s.readThrough(err) })
	})
}

// repaired takes one result that the store gave.
func (s *session) repaired(ctx context.Context, r stored) {
	if r.seq <= s.tail.cursor {
		return
	}
	s.tail.cursor = r.seq
	switch {
	case r.envelope.Life < s.stamp.Life && !safeguard.LifeOff:
	case r.envelope.Life > s.stamp.Life:
		s.close(endSuperseded)
	default:
		s.deliver(ctx, r)
	}
}

// readThrough notes that the store has given all that it had.
func (s *session) readThrough(err error) {
	s.tail.reading = false
	if err != nil {
		s.grumble("results not read", err)
	}
	s.clock.late = time.Time{}
	s.expectResult()
}

// deliver hands one stored result on. Results come here once each, in order.
func (s *session) deliver(ctx context.Context, r stored) {
	s.srv.metrics.results.WithLabelValues(string(r.envelope.Kind)).Inc()
	switch r.envelope.Kind {
	case subjects.KindOwner:
		deliverAs(s, r, func(o subjects.Owner) {
			s.progress(r.seq, o.Progress)
			s.tellFlushed()
		})
	case subjects.KindMark:
		deliverAs(s, r, func(m subjects.Mark) {
			tag := s.byNum[m.Source]
			end := s.endOf(tag, m.LastFrame) // before progress forgets the frame
			s.progress(r.seq, m.Progress)
			s.tell(dialect.Note{Event: dialect.EventProgress, Tag: tag, LastFrame: m.LastFrame, EndMS: end, OriginMS: s.origin(tag)})
			s.tellFlushed()
		})
	case subjects.KindFinal:
		deliverAs(s, r, func(f subjects.Final) {
			s.progress(r.seq, f.Progress)
			s.out.forget(f.Name)
			res := s.result(dialect.TypeFinal, f.Utterance)
			res.Number, res.Cursor, res.Flushed = f.Number, r.seq, s.flushed(f.Source)
			s.send(s.conv.Result(res), "")
			s.tellFlushed()
		})
	case subjects.KindEnded:
		deliverAs(s, r, func(e subjects.Ended) {
			s.progress(r.seq, e.Progress)
			s.tellFlushed()
			s.sessionEnded(ctx, e)
		})
	}
	s.flow(time.Now())
}

func deliverAs[T any](s *session, r stored, f func(T)) {
	v, err := subjects.Decode[T](r.envelope.Kind, r.data)
	if err != nil {
		s.srv.metrics.bad.Inc()
		s.grumble("result refused", err)
		return
	}
	f(v)
}

// progress frees what is covered and tells the client of audio that was refused.
func (s *session) progress(seq uint64, p subjects.Progress) {
	s.note(seq, p)
	s.snd.cover(p.Covered)
	for source, reasons := range p.Refused {
		var n uint64
		var last string
		for reason, c := range reasons {
			if reason == subjects.RefusedTooBig {
				continue // it was told when it came
			}
			n += c
			last = reason
		}
		if fresh := n - s.refused[source]; n > s.refused[source] {
			s.refused[source] = n
			s.warn(dialect.Note{Code: last, Tag: s.byNum[source], Field: "media.payload", Count: fresh,
				Message: fmt.Sprintf("%d frames of source %.64q were refused: %s", fresh, s.byNum[source], last)})
		}
	}
}

func (s *session) interim(data []byte) {
	if s.resume && s.tail.behind() { // what the client missed comes first
		return
	}
	i, err := subjects.Decode[subjects.Interim](subjects.KindInterim, data)
	if err != nil {
		s.grumble("interim refused", err)
		return
	}
	source := i.Name
	if s.deltas {
		source = "" // what adds to what was sent can't give way
	}
	s.send(s.conv.Result(s.result(dialect.TypeInterim, i.Utterance)), source)
}

func (s *session) result(kind string, u subjects.Utterance) dialect.Result {
	return dialect.Result{
		Type: kind, Session: s.id, Tag: u.Name, Text: u.Text,
		FirstFrame: u.FirstFrame, LastFrame: u.LastFrame, StartMS: u.StartMS, EndMS: u.EndMS,
		Confidence: u.Confidence, Words: u.Words, Language: u.Language, Speaker: u.Speaker,
		ID: u.Utterance, TimeMS: time.Now().UnixMilli(), OriginMS: s.origin(u.Name),
	}
}

// origin is the session clock at a source's first frame of this connection.
func (s *session) origin(tag string) int64 {
	if f := s.feedOf(tag); f != nil {
		return f.origin + s.clockMS
	}
	return 0
}

// endOf is the session clock at the end of a frame that this gateway has, 0 for others.
func (s *session) endOf(tag string, n uint64) (end int64) {
	f := s.feedOf(tag)
	if f == nil {
		return 0
	}
	s.snd.each(n, n, func(_ uint64, e *entry) {
		if e.kind == subjects.KindFrames {
			end = e.at + duration(f.format, e.payload).Milliseconds()
		}
	})
	return end
}

// sessionEnded tells the client the ledger; once the record is gone the connection
// closes, so that a client that comes back finds nothing of the old life.
func (s *session) sessionEnded(ctx context.Context, e subjects.Ended) {
	if s.told {
		return // a log with two ends is not ours to believe
	}
	s.told = true
	names := func(m map[uint32]uint64) map[string]uint64 {
		out := map[string]uint64{}
		for n, c := range m {
			out[s.name(n)] += c
		}
		return out
	}
	note := dialect.Note{
		Event: dialect.EventEnded, Code: e.Reason, Accepted: names(e.Accepted), Covered: names(e.Frames),
		Replayed: names(e.Replayed), Unaccounted: &e.Unaccounted,
	}
	for n, reasons := range e.Refused {
		for _, c := range reasons {
			if note.Refused == nil {
				note.Refused = map[string]uint64{}
			}
			note.Refused[s.name(n)] += c
		}
	}
	s.tell(note)
	if s.past { // its record went long ago
		s.close(s.closing)
		return
	}
	s.srv.metrics.unaccounted.Add(float64(s.outOfLedger(e)))
	if !s.over {
		s.over, s.closing = true, endLost.because(e.Reason)
	}
	stamp, worker := s.stamp, subjects.WorkerID(s.worker)
	s.unwatch()
	s.clock = clocks{} // all is said
	log := s.log
	s.srv.wg.Go(func() {
		if err := s.srv.endRecord(ctx, s.id, worker, stamp); err != nil && ctx.Err() == nil {
			log.Warn("record is left to expire", "error", err)
		}
		s.post(func(context.Context) { s.close(s.closing) })
	})
}

// outOfLedger is by how many frames a session's books differ: the worker's own, and what
// this gateway numbered against what the worker was told. It is 0 unless something is wrong.
func (s *session) outOfLedger(e subjects.Ended) (n int64) {
	n = max(e.Unaccounted, -e.Unaccounted)
	for source, mine := range s.snd.accepted {
		if e.Accepted != nil && s.over && !s.yielding { // it was this gateway that told the worker
			n += int64(max(mine, e.Accepted[source]) - min(mine, e.Accepted[source]))
		}
	}
	if n > 0 {
		s.log.Error("the session's ledger does not balance", "frames", n,
			"accepted", s.snd.accepted, "told", e.Accepted, "covered", e.Frames, "refused", e.Refused)
	}
	return n
}

func (s *session) name(source uint32) string {
	if name, ok := s.byNum[source]; ok {
		return name
	}
	return strconv.Itoa(int(source))
}

// tell renders a note for the client.
func (s *session) tell(n dialect.Note) {
	n.Type, n.Session = dialect.TypeEvent, s.id
	s.send(s.conv.Note(n), "")
}

// warn tells client and log of something wrong with the input, each kind at most
// once in a while and then with its count.
func (s *session) warn(n dialect.Note) {
	s.srv.metrics.warnings.WithLabelValues(known(n.Code)).Inc()
	k := s.notices[n.Code]
	if k == nil {
		if len(s.notices) >= 64 {
			return
		}
		k = &notice{}
		s.notices[n.Code] = k
	}
	k.since++
	if now := time.Now(); now.Sub(k.last) >= noticeEvery {
		n.Event = dialect.EventWarning
		n.Count = max(n.Count, k.since)
		k.last, k.since = now, 0
		s.log.Warn("client sent something wrong", "code", n.Code, "field", n.Field, "allowed", n.Allowed, "message", n.Message, "count", n.Count)
		s.tell(n)
	}
}

// grumble logs a fault of another process.
func (s *session) grumble(msg string, err error) { s.srv.grumble(s.log, msg, err) }

// send queues messages for the client; source names the source of an interim, which is
// the last of them. A client that reads too slowly is cut off, its session goes on
// without it.
func (s *session) send(messages [][]byte, source string) {
	for i, m := range messages {
		if m == nil {
			continue
		}
		out := message{data: m}
		if i == len(messages)-1 {
			out.source = source
		}
		if err := s.out.push(out); err != nil {
			s.srv.cutOff(s.id)
			s.out.cut(endSlow)
			return
		}
	}
}
