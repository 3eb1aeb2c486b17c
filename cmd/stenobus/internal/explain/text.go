package explain

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"stenobus/subjects"
)

const (
	clockForm = "15:04:05.000"
	dayForm   = "2006-01-02"
)

// Text writes stories for people. All times are UTC: workers, gateways and whoever reads
// this may be in different zones.
type Text struct {
	w   io.Writer
	day string // of the last line with a time
	err error  // the first of writing
}

// NewText writes to w.
func NewText(w io.Writer) *Text { return &Text{w: w} }

// Story writes all of a story and returns the first error of writing.
func (t *Text) Story(s *Story) error {
	t.line("session  %s, token %s", quoted(string(s.Session)), s.Token)
	t.line("state    %s", stateLine(s))
	t.record(s)
	t.line("log      %s on %s, kept for %s; times are UTC", count(s.Messages, "message"), s.Log.Subject, span(time.Duration(s.KeptS*float64(time.Second))))
	for _, u := range s.Unreadable {
		t.line("         not readable: %s", u)
	}
	for _, l := range s.Lives {
		t.life(s, l)
	}
	return t.err
}

func stateLine(s *Story) string {
	last := s.Lives[len(s.Lives)-1]
	lives := ""
	if len(s.Found) > 1 {
		lives = fmt.Sprintf("; lives found: %s", strings.Trim(fmt.Sprint(s.Found), "[]"))
	}
	switch s.State {
	case StateLive:
		if len(last.Owners) == 0 {
			return fmt.Sprintf("live: life %d waits for its worker to begin", last.Life) + lives
		}
		return fmt.Sprintf("live: life %d is served by %s", last.Life, shown(last.Owners[len(last.Owners)-1].Worker)) + lives
	case StateEnded:
		return fmt.Sprintf("ended: life %d, %s ago", last.Life, span(s.Read.Sub(last.End.At))) + lives
	}
	return fmt.Sprintf("lost: the log of life %d has no end, and its record is gone", last.Life) + lives
}

func (t *Text) record(s *Story) {
	r := s.Record
	switch {
	case s.RecordFault != "":
		t.line("record   not readable: %s", s.RecordFault)
	case r == nil:
		t.line("record   none: it goes when a session ends, or expires when nobody keeps it")
	default:
		t.line("record   life %d, epoch %d, attach %d: worker %s, gateway %s, since %s: %s", r.Life, r.Epoch, r.Attach,
			shown(string(r.Worker)), shown(r.Gateway), r.Since, inWords(r.Reason))
		if r.Why != "" {
			t.line("         why      %s", shown(r.Why))
		}
		if asked := wishes(r.Options); asked != "" {
			t.line("         asked    %s", asked)
		}
	}
}

// wishes is what the client asked of a worker.
func wishes(o subjects.Options) string {
	var asked []string
	if o.Engine != "" {
		asked = append(asked, "engine "+shown(o.Engine))
	}
	if o.Language != "" {
		asked = append(asked, "language "+shown(o.Language))
	}
	for _, k := range slices.Sorted(maps.Keys(o.Labels)) {
		asked = append(asked, "label "+shown(k+"="+o.Labels[k]))
	}
	return strings.Join(asked, ", ")
}

func (t *Text) life(s *Story, l *Life) {
	t.day = l.Began.UTC().Format(dayForm)
	t.line("")
	until := l.Last
	if l.State == StateLive {
		until = s.Read
	}
	t.line("life %d, %s, %s, %s", l.Life, l.State, t.day, span(until.Sub(l.Began)))
	if l.Cut {
		t.at(l.Began, "…", "the log begins here: what was before is older than it keeps")
	}
	for _, o := range l.Owners {
		t.owner(l, o)
		for _, r := range o.Refused {
			t.refusal(*r)
		}
		t.results(o)
	}
	if l.End != nil {
		t.end(l)
	} else {
		t.now(s, l)
	}
	t.longest(l)
}

func (t *Text) owner(l *Life, o *Owner) {
	i := slices.Index(l.Owners, o)
	if o.Worker == "" {
		t.at(o.At, "owner", "epoch %d, whose owner message is not there any more", o.Epoch)
		return
	}
	again := ""
	if i > 0 && l.Owners[i-1].Worker == o.Worker {
		again = " again"
	}
	t.at(o.At, "owner", "%s%s, epoch %d, engine %s: %s", shown(o.Worker), again, o.Epoch, shown(o.Engine), inWords(o.Reason))
	if o.Why != "" {
		t.under("why", "%s", shown(o.Why))
	}
	if o.GapMS == nil {
		return
	}
	before := shown(l.Owners[i-1].name())
	what := "after the last result of " + before
	if o.GapIdle {
		what = "after " + before + " took it and stored no result"
	}
	refused := ""
	if o.FramesRefused > 0 {
		refused = fmt.Sprintf(" and %d refused", o.FramesRefused)
	}
	t.under("gap", "%s %s; %s covered%s by then", span(time.Duration(*o.GapMS)*time.Millisecond), what, count(o.FramesCovered, "frame"), refused)
}

func (t *Text) refusal(r Refusal) {
	until := ""
	if r.Until.After(r.At) {
		until = ", until " + r.Until.UTC().Format(clockForm)
	}
	t.at(r.At, "refused", "%s of %s%s: %s", count(r.Frames, "frame"), source(r.Source, r.Name), until, inWords(r.Reason))
}

func (t *Text) results(o *Owner) {
	switch {
	case o.FirstResult.IsZero():
		t.under("results", "none")
		return
	case o.Finals+o.Marks == 1:
		t.at(o.LastResult, "results", "%s and %s, %s after it took over", count(o.Finals, "final"), count(o.Marks, "mark"), span(o.FirstResult.Sub(o.At)))
	default:
		t.at(o.LastResult, "results", "%s and %s, the first %s after it took over, the last here", count(o.Finals, "final"), count(o.Marks, "mark"),
			span(o.FirstResult.Sub(o.At)))
	}
	if o.Late > 0 {
		t.under("FAULT", "%s stored when another worker had the session: the fence did not hold", count(o.Late, "result"))
	}
}

func (t *Text) end(l *Life) {
	t.at(l.End.At, "ended", "%s", inWords(l.End.Reason))
	t.ledger(l)
	if l.Unaccounted != nil && *l.Unaccounted != 0 {
		t.under("FAULT", "the ledger does not add up: frames unaccounted for are %d", *l.Unaccounted)
	}
}

// now says how things stand with a life that has no end.
func (t *Text) now(s *Story, l *Life) {
	if l.State == StateLost {
		t.under("lost", "no end: whoever had it has not written one, and its record is gone")
		t.ledger(l)
		return
	}
	r := s.Record
	newest := uint64(0)
	if n := len(l.Owners); n > 0 {
		newest = l.Owners[n-1].Epoch
	}
	if r != nil && r.Epoch > newest {
		t.at(s.Read, "now", "%s is to have it, in epoch %d: %s; it has written nothing yet", shown(string(r.Worker)), r.Epoch, inWords(r.Reason))
		if r.Why != "" {
			t.under("why", "%s", shown(r.Why))
		}
	} else if l.Finals+l.Marks == 0 {
		t.at(s.Read, "now", "no result yet, %s after the begin", span(s.Read.Sub(l.heard)))
	} else {
		t.at(s.Read, "now", "%s since the last result", span(s.Read.Sub(l.heard)))
	}
	t.ledger(l)
}

func (t *Text) ledger(l *Life) {
	label := "ledger"
	for _, a := range l.Ledger {
		var refused uint64
		var reasons []string
		for _, r := range slices.Sorted(maps.Keys(a.Refused)) {
			refused += a.Refused[r]
			reasons = append(reasons, fmt.Sprintf("%s %d", shown(r), a.Refused[r]))
		}
		by := ""
		if len(reasons) > 0 {
			by = " (" + strings.Join(reasons, ", ") + ")"
		}
		if a.Accepted != nil {
			t.under(label, "%s: %d accepted = %d covered + %d refused%s + %d unaccounted", source(a.Source, a.Name), *a.Accepted, a.Covered, refused, by, *a.Unaccounted)
		} else {
			t.under(label, "%s: %d covered, %d refused%s", source(a.Source, a.Name), a.Covered, refused, by)
		}
		label = ""
	}
	if l.End != nil && l.accepted == nil {
		t.under(label, "no gateway was left to say how many frames it had accepted")
	}
}

func (t *Text) longest(l *Life) {
	s := l.Longest
	if s == nil {
		return
	}
	var names []string
	for _, n := range s.Owners {
		names = append(names, shown(n))
	}
	with := ""
	if len(names) > 0 {
		with = ", with " + strings.Join(names, " then ")
	}
	t.under("longest", "%s without a result, %s to %s%s", span(time.Duration(s.MS)*time.Millisecond), s.From.UTC().Format(clockForm), s.To.UTC().Format(clockForm), with)
}

// Event writes what one message added to a story, while it is being followed.
func (t *Text) Event(ev Event) error {
	switch {
	case ev.Life == nil:
		t.at(ev.At, "?", "a message of the log is not readable")
	case ev.Kind == subjects.KindOwner:
		t.owner(ev.Life, ev.Owner)
	}
	for _, r := range ev.Refused {
		t.refusal(r)
	}
	switch r := ev.Result; ev.Kind {
	case subjects.KindFinal:
		t.at(ev.At, "final", "%d: %s, frames %d to %d", r.Number, source(r.Source, r.Name), r.FirstFrame, r.LastFrame)
	case subjects.KindMark:
		t.at(ev.At, "mark", "%s, frames %d to %d: no words", source(r.Source, r.Name), r.FirstFrame, r.LastFrame)
	case subjects.KindEnded:
		if ev.Life != nil {
			t.end(ev.Life)
			t.longest(ev.Life)
		}
	}
	return t.err
}

// at writes a line of the time line. The day is written where it changes.
func (t *Text) at(at time.Time, label, format string, args ...any) {
	at = at.UTC()
	if day := at.Format(dayForm); day != t.day && t.day != "" {
		t.line("  %s", day)
		t.day = day
	}
	t.line("  %s  %-8s %s", at.Format(clockForm), label, fmt.Sprintf(format, args...))
}

// under writes a line that belongs to the one above.
func (t *Text) under(label, format string, args ...any) {
	t.line("  %12s  %-8s %s", "", label, fmt.Sprintf(format, args...))
}

func (t *Text) line(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintln(t.w, strings.TrimRight(fmt.Sprintf(format, args...), " "))
	}
}

func source(n uint32, name string) string {
	if name == "" {
		return fmt.Sprintf("source %d", n)
	}
	return fmt.Sprintf("source %d %s", n, quoted(name))
}

// span is a time as people read it: no digits that nobody needs.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	}
	return fmt.Sprintf("%.0f h", d.Hours())
}

func count(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// quoted and shown make text from elsewhere safe to show; shown leaves what is harmless.
func quoted(text string) string { return strconv.Quote(text) }

func shown(text string) string {
	if q := quoted(text); text == "" || len(q) != len(text)+2 && strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return q
	}
	return text
}
