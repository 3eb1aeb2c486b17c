package placement

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"stenobus/subjects"
)

// why tells people how a choice was made: what spoke for the worker, then what became
// of the others. It goes into the session's record and its results log.
func (ch *choice) why(strategy string, n *need, known int) string {
	var b strings.Builder
	b.WriteString(strategy + ": " + ch.merit(strategy))
	if ch.spilled(n) {
		fmt.Fprintf(&b, ", in cell %s as %s has no room for it", shown(ch.Cell), shown(n.home))
	}
	if ch.suspect {
		b.WriteString(", though it did not answer lately")
	}
	if n.hopeful {
		b.WriteString(", promised slots not counted")
	}
	if ch.looked < known {
		fmt.Fprintf(&b, "; %d drawn of %d known", ch.looked, known)
	} else {
		fmt.Fprintf(&b, "; %d known", known)
	}
	for _, s := range [...]struct {
		standing standing
		word     string
	}{{full, "full"}, {busy, "in use"}, {draining, "draining"}, {elsewhere, "in other cells"}, {unfit, "that do not serve it"}} {
		if count := ch.counts[s.standing]; count > 0 {
			fmt.Fprintf(&b, ", %d %s", count, s.word)
		}
	}
	b.WriteString(n.passedOver())
	return subjects.BoundWhy(b.String())
}

// merit is what spoke for the worker.
func (ch *choice) merit(strategy string) string {
	load := fmt.Sprintf("load %d/%d", ch.Sessions+ch.pending, ch.Slots)
	switch {
	case ch.fit == 1 && strategy == Dedicated:
		return "the only one without a session"
	case ch.fit == 1:
		return load + ", the only one with room"
	case strategy == Pack && ch.over == nil:
		return fmt.Sprintf("%s, the fullest of %d with room", load, ch.fit)
	case strategy == Hash:
		return fmt.Sprintf("%s, ranks highest for this session of %d with room", load, ch.fit)
	case strategy == Dedicated:
		return fmt.Sprintf("one of %d without a session", ch.fit)
	case ch.over == nil || ch.over.Worker == ch.Worker:
		return fmt.Sprintf("%s, drawn twice of %d with room", load, ch.fit)
	}
	return fmt.Sprintf("%s against %d/%d of %s", load, ch.over.Sessions+ch.over.pending, ch.over.Slots, shown(ch.over.Worker))
}

// passedOver names the workers that must not have the session, known or not.
func (n *need) passedOver() string {
	var tried, left []string
	for w, code := range n.not {
		if code == "" {
			left = append(left, shown(w))
		} else {
			tried = append(tried, shown(w)+": "+code)
		}
	}
	text := ""
	if len(tried) > 0 {
		slices.Sort(tried)
		text = fmt.Sprintf(", %d tried in vain (%s)", len(tried), strings.Join(tried, ", "))
	}
	if len(left) > 0 {
		text += ", not " + strings.Join(left, ", ") + ", which it leaves"
	}
	return text
}

// shown is the name of a worker or a cell as people may be shown it, whatever is in it.
func shown[T ~string](w T) string {
	if q := strconv.Quote(string(w)); len(q) != len(w)+2 {
		return q
	}
	return string(w)
}
