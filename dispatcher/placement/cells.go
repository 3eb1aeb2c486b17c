package placement

// Rules of spilling: when a session may be placed outside of the cell of its claim.
const (
	SpillFull  = "full"  // where no worker of the cell has room and answers
	SpillNever = "never" // not at all: it waits
)

// From says from which cell the session comes, empty for none, and whether it may leave it.
func (s *Search) From(cell string, spill bool) *Search {
	s.need.cell, s.need.spill = cell, spill
	return s
}

// Spilled tells whether the worker that was reserved last is in another cell.
func (s *Search) Spilled() bool { return s.spilled }

// here tells whether a worker is in the session's cell. A worker of a version that knows
// no cells is in every one.
func (n *need) here(c *candidate) bool {
	return n.cell == "" || c.Cell == "" || c.Cell == n.cell
}

// look chooses a worker of the session's cell, or of another one where it may spill: if
// there is no room at home, or only at workers that did not answer lately. The need that
// comes back is the one by which it was chosen.
func (f *Fleet) look(n *need) (choice, *need) {
	c, by := f.lookIn(n)
	if n.cell == "" || !n.spill || c.candidate != nil && !c.suspect {
		return c, by
	}
	anywhere := *n
	anywhere.cell, anywhere.home = "", n.cell
	if away, how := f.lookIn(&anywhere); away.candidate != nil && (c.candidate == nil || !away.suspect) {
		return away, how
	}
	return c, by
}

func (f *Fleet) lookIn(n *need) (choice, *need) {
	c := f.index.choose(n, f.random)
	if c.candidate == nil && f.index.strategy != Dedicated {
		// A promise may come to nothing, or be counted twice while answers overtake each
		// other: before a session is refused the worker itself says whether it is full.
		hopeful := *n
		hopeful.hopeful = true
		n = &hopeful
		c = f.index.choose(n, f.random)
	}
	return c, n
}

// spilled tells whether a choice is outside of the cell that the session came from.
func (ch *choice) spilled(n *need) bool {
	return n.home != "" && ch.candidate != nil && ch.Cell != "" && ch.Cell != n.home
}
