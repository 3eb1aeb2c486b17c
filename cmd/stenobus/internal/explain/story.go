// Package explain tells the story of a session from what the bus keeps of it: its record
// and its results log. Story and its text are pure; Reader does the reading.
package explain

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"stenobus/subjects"
)

// States of a session and of a life.
const (
	StateLive  = "live"  // its record is there
	StateEnded = "ended" // its log has an end
	StateLost  = "lost"  // neither: its record has expired, or another life took its place
)

// Story is what the bus knows of a session.
type Story struct {
	Session subjects.SessionID `json:"session"`
	Token   string             `json:"token"`
	State   string             `json:"state"` // of the last of lives
	Read    time.Time          `json:"read"`  // when the bus was asked, by this machine's clock
	KeptS   float64            `json:"results_kept_s"`
	Log     subjects.LogPlace  `json:"log"`

	Record      *subjects.Record `json:"record,omitempty"`
	RecordFault string           `json:"record_fault,omitempty"` // why a record that is there can't be read

	Messages   uint64   `json:"messages"` // in the results log
	Unreadable []string `json:"unreadable,omitempty"`
	Found      []uint64 `json:"lives_found"`
	Lives      []*Life  `json:"lives"` // of these, the newest last: all, or the one asked for

	last uint64 // sequence of the newest message
}

// Life is one existence of the session's id.
type Life struct {
	Life        uint64    `json:"life"`
	State       string    `json:"state"`
	Began       time.Time `json:"began"` // of its first message that is still there
	Last        time.Time `json:"last"`  // of its last message
	Cut         bool      `json:"cut,omitempty"`
	Finals      uint64    `json:"finals"`
	Marks       uint64    `json:"marks"`
	Owners      []*Owner  `json:"owners"`
	Longest     *Stretch  `json:"longest_without_result,omitempty"`
	End         *End      `json:"end,omitempty"`
	Ledger      []Account `json:"ledger"` // of each source, so far
	Unaccounted *int64    `json:"unaccounted,omitempty"`

	progress subjects.Progress
	accepted map[uint32]uint64
	names    map[uint32]string
	heard    time.Time // of the last result, or of the life's begin
}

// Owner is one ownership of a life by a worker, and what came of it.
type Owner struct {
	At      time.Time `json:"at"`
	Epoch   uint64    `json:"epoch"`
	Attach  uint64    `json:"attach"`
	Worker  string    `json:"worker"` // empty: its owner message has aged out
	Engine  string    `json:"engine"`
	Reason  string    `json:"reason"`
	Why     string    `json:"why,omitempty"`
	GapMS   *int64    `json:"gap_ms,omitempty"`        // since the last result of the owner before it, or since that took over
	GapIdle bool      `json:"gap_no_result,omitempty"` // that one had stored no result

	FramesCovered uint64 `json:"frames_covered"` // by then, of all sources
	FramesRefused uint64 `json:"frames_refused"` // by then

	Refused     []*Refusal `json:"refused,omitempty"`
	Finals      uint64     `json:"finals"`
	Marks       uint64     `json:"marks"`
	FirstResult time.Time  `json:"first_result,omitzero"`
	LastResult  time.Time  `json:"last_result,omitzero"`
	Late        uint64     `json:"late,omitempty"` // results it wrote after another owner had begun: the fence failed
}

// Refusal is how many frames of a source were refused for one reason during an ownership.
type Refusal struct {
	At     time.Time `json:"at"`    // of the first
	Until  time.Time `json:"until"` // of the last
	Source uint32    `json:"source"`
	Name   string    `json:"name,omitempty"`
	Reason string    `json:"reason"`
	Frames uint64    `json:"frames"`
}

// Stretch is a time without a result.
type Stretch struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	MS     int64     `json:"ms"`
	Owners []string  `json:"owners"` // who had the session in it
}

// End is how a life ended.
type End struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// Account is a source's part of the ledger: accepted = covered + refused + unaccounted.
type Account struct {
	Source      uint32            `json:"source"`
	Name        string            `json:"name,omitempty"`
	Accepted    *uint64           `json:"accepted,omitempty"` // absent before the end, or where no gateway was left to say it
	Covered     uint64            `json:"covered"`
	Refused     map[string]uint64 `json:"refused,omitempty"`
	Unaccounted *int64            `json:"unaccounted,omitempty"`
}

// Entry is one message of the results log.
type Entry struct {
	Seq      uint64
	At       time.Time // when it was stored
	Envelope subjects.Envelope
	Data     []byte
	Fault    error // why its envelope can't be read
}

// Event is what an entry added to a story.
type Event struct {
	At      time.Time
	Kind    subjects.Kind
	Life    *Life
	Owner   *Owner
	Refused []Refusal // what this entry refused
	Result  result
}

// result is what a final and a mark say of themselves.
type result struct {
	Number     uint64 `json:"n"`
	Source     uint32 `json:"source"`
	Name       string `json:"name"`
	FirstFrame uint64 `json:"first_frame"`
	LastFrame  uint64 `json:"last_frame"`
}

// message is every field that this package reads of a message of the log.
type message struct {
	subjects.Progress
	result
	Worker      string            `json:"worker"`
	Engine      string            `json:"engine"`
	Reason      string            `json:"reason"`
	Why         string            `json:"why"`
	Accepted    map[uint32]uint64 `json:"accepted"`
	Unaccounted *int64            `json:"unaccounted"`
}

// NewStory is the story of a session of which nothing has been read yet.
func NewStory(id subjects.SessionID, log subjects.LogPlace, kept time.Duration) *Story {
	return &Story{Session: id, Token: id.Token(), Log: log, KeptS: kept.Seconds(), Lives: []*Life{}}
}

// Add takes the next message of the log. An event without a life says that it was not readable.
func (s *Story) Add(e Entry) Event {
	s.Messages++
	s.last = max(s.last, e.Seq)
	var m message
	if e.Fault == nil {
		if err := json.Unmarshal(e.Data, &m); err != nil {
			e.Fault = fmt.Errorf("%w: payload of %s: %w", subjects.ErrMessage, e.Envelope.Kind, err)
		}
	}
	if e.Fault != nil {
		const most = 10
		if text := fmt.Sprintf("sequence %d: %v", e.Seq, e.Fault); len(s.Unreadable) < most {
			s.Unreadable = append(s.Unreadable, text)
		}
		return Event{At: e.At, Kind: e.Envelope.Kind}
	}
	return s.life(e, m).add(e, m)
}

// life finds or begins the life of a message.
func (s *Story) life(e Entry, m message) *Life {
	for _, l := range s.Lives {
		if l.Life == e.Envelope.Life {
			return l
		}
	}
	l := &Life{
		Life: e.Envelope.Life, Began: e.At, heard: e.At, Owners: []*Owner{}, Ledger: []Account{}, names: map[uint32]string{},
		Cut: e.Envelope.Kind != subjects.KindOwner || len(m.Frames)+len(m.Progress.Refused) > 0,
	}
	if l.Cut { // what was refused before is not this message's doing
		l.progress = m.Progress
	}
	s.Lives = append(s.Lives, l)
	return l
}

func (l *Life) add(e Entry, m message) Event {
	kind := e.Envelope.Kind
	if kind == subjects.KindOwner {
		l.own(e, m)
	}
	o := l.owner(e)
	ev := Event{At: e.At, Kind: kind, Life: l, Owner: o, Result: m.result}
	ev.Refused = l.refused(o, e.At, m)
	l.progress, l.Last = m.Progress, e.At
	switch kind {
	case subjects.KindFinal, subjects.KindMark:
		if m.Name != "" {
			l.names[m.Source] = m.Name
		}
		ev.Result.Name = l.names[m.Source]
		l.result(o, e)
	case subjects.KindEnded:
		l.End = &End{At: e.At, Reason: m.Reason}
		l.accepted, l.Unaccounted = m.Accepted, m.Unaccounted
		l.stretch(e.At)
	}
	l.settleLedger()
	return ev
}

// own begins an ownership.
func (l *Life) own(e Entry, m message) {
	o := &Owner{
		At: e.At, Epoch: e.Envelope.Epoch, Attach: e.Envelope.Attach,
		Worker: m.Worker, Engine: m.Engine, Reason: m.Reason, Why: m.Why,
	}
	o.FramesCovered, o.FramesRefused = frames(m.Progress)
	if n := len(l.Owners); n > 0 {
		before := l.Owners[n-1]
		since := before.LastResult
		if o.GapIdle = since.IsZero(); o.GapIdle {
			since = before.At
		}
		gap := e.At.Sub(since).Milliseconds()
		o.GapMS = &gap
	}
	l.Owners = append(l.Owners, o)
}

// owner finds whose message it is. Where the log begins within an ownership the owner is
// not known.
func (l *Life) owner(e Entry) *Owner {
	for _, o := range slices.Backward(l.Owners) {
		if o.Epoch == e.Envelope.Epoch {
			return o
		}
	}
	o := &Owner{At: e.At, Epoch: e.Envelope.Epoch, Attach: e.Envelope.Attach}
	l.Owners = append(l.Owners, o)
	return o
}

func (l *Life) result(o *Owner, e Entry) {
	if e.Envelope.Kind == subjects.KindFinal {
		l.Finals++
		o.Finals++
	} else {
		l.Marks++
		o.Marks++
	}
	if o.FirstResult.IsZero() {
		o.FirstResult = e.At
	}
	o.LastResult = e.At
	if o != l.Owners[len(l.Owners)-1] {
		o.Late++
	}
	l.stretch(e.At)
}

// refused finds what a message refuses that the one before did not.
func (l *Life) refused(o *Owner, at time.Time, m message) (rose []Refusal) {
	for _, source := range slices.Sorted(maps.Keys(m.Progress.Refused)) {
		for _, reason := range slices.Sorted(maps.Keys(m.Progress.Refused[source])) {
			count, before := m.Progress.Refused[source][reason], l.progress.Refused[source][reason]
			if count <= before {
				continue
			}
			r := Refusal{At: at, Until: at, Source: source, Name: l.names[source], Reason: reason, Frames: count - before}
			rose = append(rose, r)
			i := slices.IndexFunc(o.Refused, func(r *Refusal) bool { return r.Source == source && r.Reason == reason })
			if i < 0 {
				o.Refused = append(o.Refused, &r)
				continue
			}
			o.Refused[i].Until = at
			o.Refused[i].Frames += r.Frames
		}
	}
	return rose
}

// stretch ends a time without a result.
func (l *Life) stretch(to time.Time) {
	if ms := to.Sub(l.heard).Milliseconds(); ms > 0 && (l.Longest == nil || ms > l.Longest.MS) {
		l.Longest = &Stretch{From: l.heard, To: to, MS: ms, Owners: l.ownersIn(l.heard, to)}
	}
	l.heard = to
}

func (l *Life) ownersIn(from, to time.Time) []string {
	names := []string{}
	for i, o := range l.Owners {
		if i+1 < len(l.Owners) && !l.Owners[i+1].At.After(from) || o.At.After(to) {
			continue
		}
		if name := o.name(); len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	return names
}

// name is the worker, or its epoch where the owner message is not there any more.
func (o *Owner) name() string {
	if o.Worker == "" {
		return fmt.Sprintf("epoch %d", o.Epoch)
	}
	return o.Worker
}

func (l *Life) settleLedger() {
	sources := map[uint32]bool{}
	for n := range l.progress.Frames {
		sources[n] = true
	}
	for n := range l.progress.Refused {
		sources[n] = true
	}
	for n := range l.accepted {
		sources[n] = true
	}
	l.Ledger = l.Ledger[:0]
	for _, n := range slices.Sorted(maps.Keys(sources)) {
		a := Account{Source: n, Name: l.names[n], Covered: l.progress.Frames[n], Refused: l.progress.Refused[n]}
		if l.accepted != nil {
			accepted := l.accepted[n]
			left := int64(accepted) - int64(a.Covered)
			for _, count := range a.Refused {
				left -= int64(count)
			}
			a.Accepted, a.Unaccounted = &accepted, &left
		}
		l.Ledger = append(l.Ledger, a)
	}
}

// Settle takes the session's record, nil if there is none, and says how things stand.
func (s *Story) Settle(rec *subjects.Record, now time.Time) {
	s.Record, s.Read = rec, now
	if rec != nil && (len(s.Lives) == 0 || s.Lives[len(s.Lives)-1].Life < rec.Life) {
		since, err := time.Parse(time.RFC3339, rec.Since)
		if err != nil {
			since = now
		}
		s.Lives = append(s.Lives, &Life{
			Life: rec.Life, Began: since, Last: since, heard: since, Owners: []*Owner{}, Ledger: []Account{}, names: map[uint32]string{},
		})
	}
	s.Found = s.Found[:0]
	for i, l := range s.Lives {
		s.Found = append(s.Found, l.Life)
		switch {
		case l.End != nil:
			l.State = StateEnded
		case rec != nil && rec.Life == l.Life, s.RecordFault != "" && i == len(s.Lives)-1: // of a record that can't be read
			l.State = StateLive
			heard := l.heard
			l.stretch(now)
			l.heard = heard // it goes on
		default:
			l.State = StateLost
		}
		s.State = l.State
	}
}

// Keep leaves only one life.
func (s *Story) Keep(life uint64) error {
	i := slices.Index(s.Found, life)
	if i < 0 {
		return fmt.Errorf("there is no life %d of session %q, found were %v", life, string(s.Session), s.Found)
	}
	s.Lives = s.Lives[i : i+1]
	s.State = s.Lives[0].State
	return nil
}

// frames counts what a progress accounts for.
func frames(p subjects.Progress) (covered, refused uint64) {
	for _, n := range p.Frames {
		covered += n
	}
	for _, reasons := range p.Refused {
		for _, n := range reasons {
			refused += n
		}
	}
	return covered, refused
}
