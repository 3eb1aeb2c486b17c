package lab

import (
	"context"
	"fmt"
	"time"
)

// verify reads the store and compares it with what was sent and heard. A run that was
// interrupted proves less: its sessions did not come to their end.
func (r *run) verify(ctx context.Context, whole bool) error {
	ctx, cancel := context.WithTimeout(ctx, verifyWait)
	defer cancel()
	audits := map[uint32]*audit{}
	clients := r.crew.clients()
	for _, c := range clients {
		audits[c.index] = newAudit(c.index, c.id, r.cfg.Sources, r.cfg.FrameBytes)
	}
	lives := map[uint32]*lives{}
	err := r.onlooker.readEntries(ctx, func(base uint32, e entry, err error) {
		if lives[base] == nil {
			lives[base] = newLives(r.crew.chain(base))
		}
		a := audits[lives[base].of(e.Life)]
		switch {
		case a == nil:
		case err != nil:
			a.wrong(e.at, FrameUnaccounted, 1, "entry %d can't be read: %v", e.seq, err)
		default:
			a.enter(e)
		}
	})
	if err != nil {
		return err
	}
	for _, c := range clients {
		a := audits[c.index]
		r.wrongs.add(a.close(c.view(r.onlooker.highest(c.index)), time.Now())...)
		r.accepted += a.accepted
		r.refused += a.refused
	}
	if !whole {
		return nil
	}
	r.phase.Store("looking for leftovers")
	left, err := r.leftovers(ctx)
	if err != nil {
		err = fmt.Errorf("look for leftovers: %w", err)
	}
	for _, what := range left {
		r.wrongs.add(wrong(Leftover, 1, "%s", what))
	}
	return err
}

// lives tells which of the sessions with one id an entry belongs to: each has one life.
type lives struct {
	sessions []uint32
	life     uint64
}

func newLives(sessions []uint32) *lives { return &lives{sessions: sessions} }

// of is the session of a life, 0 where there is none. Entries come in the order of the
// log, so a higher life is the next session's; one too many is the last one's to explain.
func (l *lives) of(life uint64) uint32 {
	if len(l.sessions) == 0 {
		return 0
	}
	if l.life != 0 && life > l.life && len(l.sessions) > 1 {
		l.sessions = l.sessions[1:]
	}
	l.life = max(l.life, life)
	return l.sessions[0]
}

// view is the session as its client knows it, after its end.
func (c *client) view(seen []uint64) view {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := view{seen: seen, heard: c.ear.finals, failed: c.failed != nil, sent: make([]uint64, len(c.sent))}
	for i := range c.sent {
		v.sent[i] = c.sent[i].Load()
	}
	for _, n := range c.ear.told {
		v.told += n
	}
	return v
}
