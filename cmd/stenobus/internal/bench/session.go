package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	dialWait  = 10 * time.Second
	readLimit = 4 << 20

	foreignBye = 2 * time.Second // for another's server to close after the session's end
)

// sample is one latency and the moment from which it counts.
type sample struct {
	due  time.Time
	took time.Duration
}

// session is one client. Its sender and its reader share nothing that either changes
// while both run.
type session struct {
	load   *Load
	index  int
	tags   []string
	opened time.Time // when it was to connect
	open   func()    // tells that it is ready
	conn   *websocket.Conn

	// The sender's.
	plan     plan
	messages uint64
	late     uint64
	buf      []byte
	sendErr  error

	// Of both.
	frameSlack, pingSlack slack

	// The reader's.
	ready    time.Duration // 0: not yet
	pongs    []sample
	answered []bool // pings, by number from 1
	finals   []sample
	arrivals []sample // of frames at the engine
	book     book
	notice   string // the first thing that the server complained about
	readErr  error
	ended    bool // with the server's goodbye
}

func newSession(l *Load, index int) *session {
	s := &session{load: l, index: index, book: book{audio: l.audio, session: index, sources: l.cfg.Sources}}
	for i := range l.cfg.Sources {
		s.tags = append(s.tags, tagOf(i))
	}
	return s
}

// run is the session's life. open is called once: when it is ready, or over.
func (s *session) run(ctx context.Context, open func()) error {
	s.open = sync.OnceFunc(open)
	defer s.open()
	if err := pauseUntil(ctx, s.opened); err != nil {
		return err
	}
	if err := s.dial(ctx); err != nil {
		return err
	}
	defer s.conn.CloseNow()
	s.plan.schedule = newSchedule(time.Now(), &s.load.cfg).spread(s.load.begin, s.index)
	if s.load.cfg.Bare || s.load.cfg.Foreign {
		s.open()
	}
	if s.load.cfg.Bare {
		if err := s.send(ctx); err != nil {
			return err
		}
		return s.conn.Close(websocket.StatusNormalClosure, "")
	}
	var reader sync.WaitGroup
	gone, stop := context.WithCancel(ctx)
	defer stop()
	reader.Go(func() {
		defer stop() // what is not read any more need not be sent
		s.readErr = s.read(context.WithoutCancel(ctx))
	})
	s.sendErr = s.send(gone)
	switch {
	case ctx.Err() != nil:
		_ = s.conn.Close(websocket.StatusGoingAway, "interrupted")
	case s.load.cfg.Foreign: // it may not know the end
		defer time.AfterFunc(foreignBye, func() { _ = s.conn.Close(websocket.StatusNormalClosure, "") }).Stop()
	}
	reader.Wait()
	return s.verdict(ctx)
}

// verdict tells what was wrong with the session, other than lost frames.
func (s *session) verdict(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case s.load.cfg.Foreign && s.sendErr == nil:
		return nil
	case s.ended && s.ready == 0:
		return errors.New("it was never ready")
	case s.ended && s.readErr == nil:
		return nil
	}
	err := s.readErr
	if err == nil {
		err = s.sendErr
	}
	if s.notice != "" {
		return fmt.Errorf("%w (%s)", err, s.notice)
	}
	return err
}

func (s *session) dial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, s.address(), &websocket.DialOptions{HTTPClient: s.load.upgrader})
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	conn.SetReadLimit(readLimit)
	s.conn = conn
	return nil
}

func (s *session) address() string {
	q := url.Values{"sendBack": {"true"}, "stenobus": {"1"}, "sessionId": {"bench-" + strconv.Itoa(s.index)}}
	if s.load.cfg.Interims {
		q.Set("sendBackInterim", "true")
	}
	return s.load.cfg.URL + "?" + q.Encode()
}

// send follows the plan until the load is over for this session.
func (s *session) send(ctx context.Context) error {
	for _, tag := range s.tags {
		if err := s.write(ctx, startMessage(tag)); err != nil {
			return err
		}
	}
	for {
		t := s.plan.next()
		if s.load.overFor(s.index, t.due) {
			return s.write(ctx, endMessage)
		}
		busy := time.Now().After(t.due)
		if err := pauseUntil(ctx, t.due); err != nil {
			return err
		}
		now := time.Now()
		if now.Sub(t.due) > lateBy {
			s.late++
		}
		s.slackOf(t.ping).note(t.n, t.due, now, busy)
		if err := s.sendTurn(ctx, t); err != nil {
			return err
		}
		s.plan.pass(t)
	}
}

func (s *session) slackOf(ping bool) *slack {
	if ping {
		return &s.pingSlack
	}
	return &s.frameSlack
}

func (s *session) sendTurn(ctx context.Context, t turn) error {
	if t.ping {
		return s.write(ctx, pingMessage(t.n))
	}
	sources := uint64(s.load.cfg.Sources)
	chunk := (t.n-1)/sources + 1
	m := media{
		sequence: t.n, tag: s.tags[sourceOf(t.n, s.load.cfg.Sources)], chunk: chunk,
		timestamp: uint64(float64(chunk-1) * ticks / s.load.cfg.Rate),
		payload:   s.load.audio.encoded[variant(s.index, t.n)],
	}
	s.buf = m.appendTo(s.buf[:0])
	if err := s.writeBytes(ctx, s.buf); err != nil {
		return err
	}
	s.load.frames.Add(1)
	return nil
}

func (s *session) write(ctx context.Context, message string) error {
	return s.writeBytes(ctx, []byte(message))
}

func (s *session) writeBytes(ctx context.Context, message []byte) error {
	if err := s.conn.Write(ctx, websocket.MessageText, message); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	s.messages++
	return nil
}

// heard is what a gateway says, as far as it matters here.
type heard struct {
	Event    string `json:"event"`
	ID       uint64 `json:"id"` // of a pong
	Stenobus *struct {
		Type        string `json:"type"`
		Source      string `json:"source"`
		Text        string `json:"text"`
		Event       string `json:"event"`
		Code        string `json:"code"`
		Message     string `json:"message"`
		Unaccounted int64  `json:"unaccounted"`
	} `json:"stenobus"`
}

// read listens until the server says goodbye; anything else is an error.
func (s *session) read(ctx context.Context) error {
	var wrong error
	for {
		_, b, err := s.conn.Read(ctx)
		if websocket.CloseStatus(err) == websocket.StatusNormalClosure {
			s.ended = true
			return wrong
		}
		if err != nil {
			return errors.Join(wrong, err)
		}
		if err := s.hear(b, time.Now()); err != nil && wrong == nil {
			wrong = err
		}
	}
}

func (s *session) hear(b []byte, now time.Time) error {
	var h heard
	if err := json.Unmarshal(b, &h); err != nil {
		return fmt.Errorf("read %.100q: %w", b, err)
	}
	switch {
	case h.Event == "pong":
		s.pong(h.ID, now)
	case h.Stenobus == nil:
	case h.Stenobus.Type == "final":
		st, err := s.book.enter(h.Stenobus.Source, h.Stenobus.Text)
		if err != nil {
			return err
		}
		n := st.Frames[st.Count-1]
		due := s.frameSlack.of(n, s.plan.frame(n))
		s.finals = append(s.finals, sample{due, now.Sub(due)})
		if st.At != 0 {
			s.arrivals = append(s.arrivals, sample{due, time.UnixMicro(st.At).Sub(due)})
		}
	case h.Stenobus.Event == "ready" && s.ready == 0:
		s.ready = now.Sub(s.opened)
		s.open()
	case h.Stenobus.Event == "ended" && h.Stenobus.Unaccounted != 0:
		return fmt.Errorf("the gateway's ledger leaves %d frames unaccounted for", h.Stenobus.Unaccounted)
	case h.Stenobus.Code != "" && h.Stenobus.Event != "ended" && s.notice == "":
		s.notice = h.Stenobus.Code + ": " + h.Stenobus.Message
	}
	return nil
}

func (s *session) pong(n uint64, now time.Time) {
	if n == 0 || n > 1<<20 {
		return
	}
	for uint64(len(s.answered)) < n {
		s.answered = append(s.answered, false)
	}
	if !s.answered[n-1] {
		s.answered[n-1] = true
		due := s.pingSlack.of(n, s.plan.ping(n))
		s.pongs = append(s.pongs, sample{due, now.Sub(due)})
	}
}

// unanswered adds pings that nobody answered: they took until now at least.
func (s *session) unanswered(now time.Time) {
	for n := uint64(1); n <= s.plan.pinged; n++ {
		if n > uint64(len(s.answered)) || !s.answered[n-1] {
			due := s.plan.ping(n)
			s.pongs = append(s.pongs, sample{due, now.Sub(due)})
		}
	}
}

func pauseUntil(ctx context.Context, t time.Time) error {
	d := time.Until(t)
	if d <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
