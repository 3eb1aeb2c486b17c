package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"stenobus/cmd/stenobus/internal/explain"
	"stenobus/subjects"
)

type explainCmd struct {
	Session string `arg:"" help:"The session's id as its client wrote it, or its token as in subjects and keys."`
	Life    uint64 `help:"Only this life of the id; by default all, the newest last." placeholder:"N" xor:"what"`
	Follow  bool   `help:"Go on with what is stored from now on, until the session ends or Ctrl-C." xor:"what"`
	JSON    bool   `name:"json" help:"Print one JSON object; with --follow another one whenever an owner, a refusal or an end comes."`
	natsFlags
}

const busWait = 5 * time.Second // a tool does not wait for a bus that is not there

func (*explainCmd) Help() string {
	return `It reads the session's record and its results log: which workers had the session, why each was chosen and why it moved, how long nobody had it, which frames were refused and why, and how it ended, with the ledger of its frames. It changes nothing on the bus. A time without a result need not be a fault: nobody may have spoken.

The log of a session is kept for as long as the stream keeps results; a session of which nothing is left there ends this with code 1.

Examples:

    stenobus explain meeting-7
    stenobus explain 'meeting 1' --follow
    stenobus explain meeting=201 --json | jq '.lives[-1].owners[] | {worker, reason, gap_ms, why}'
`
}

func (c *explainCmd) Run(p *program) error {
	conn, err := c.dial(p, "explain")
	if err != nil {
		return err
	}
	defer conn.close()
	if err := c.reach(p.ctx, conn); err != nil {
		return err
	}
	r, err := explain.Open(p.ctx, conn.Conn)
	if err != nil {
		return fmt.Errorf("is this the bus of a Stenobus? %w", err)
	}
	s, byToken, err := r.Find(p.ctx, c.Session)
	if errors.Is(err, subjects.ErrID) {
		return usageError("%w", err)
	}
	if err != nil {
		return err
	}
	if byToken {
		fmt.Fprintf(p.stderr, "no session has the id %q: this is the one whose token it is\n", c.Session)
	}
	if c.Life != 0 {
		if err := s.Keep(c.Life); err != nil {
			return err
		}
	}
	if c.JSON {
		return c.printJSON(p, r, s)
	}
	text := explain.NewText(p.stdout)
	if err := text.Story(s); err != nil || !c.Follow || s.State != explain.StateLive {
		return err
	}
	if _, err := fmt.Fprintln(p.stdout, "\nfollowing"); err != nil {
		return err
	}
	if err := r.Follow(p.ctx, s, text.Event); err != nil {
		return err
	}
	if s.State == explain.StateLost {
		_, err = fmt.Fprintln(p.stdout, "the session's record is gone, and nobody has written its end")
	}
	return err
}

// reach waits for the bus, but not for ever.
func (c *explainCmd) reach(ctx context.Context, conn *busConn) error {
	ctx, cancel := context.WithTimeoutCause(ctx, busWait, errNoBus)
	defer cancel()
	err := conn.await(ctx)
	if errors.Is(err, errNoBus) {
		return refusedError("%w within %v: %w", errNoBus, busWait, conn.ready())
	}
	return err
}

var errNoBus = errors.New("no NATS server answered")

func (c *explainCmd) printJSON(p *program, r *explain.Reader, s *explain.Story) error {
	if err := printStory(p.stdout, s); err != nil || !c.Follow || s.State != explain.StateLive {
		return err
	}
	err := r.Follow(p.ctx, s, func(ev explain.Event) error {
		if ev.Kind == subjects.KindOwner || len(ev.Refused) > 0 {
			return printStory(p.stdout, s)
		}
		return nil
	})
	return errors.Join(err, printStory(p.stdout, s))
}

func printStory(w io.Writer, s *explain.Story) error { return json.NewEncoder(w).Encode(s) }
