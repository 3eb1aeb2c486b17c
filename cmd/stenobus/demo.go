package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/alecthomas/kong"

	"stenobus/cmd/stenobus/internal/client"
	"stenobus/cmd/stenobus/internal/clip"
	"stenobus/cmd/stenobus/internal/wer"
	"stenobus/cmd/stenobus/samples"
	"stenobus/subjects"
)

// demoBound is the word error rate above which the demo fails: far above what the
// engine reaches on the samples, far below what broken audio gives.
const demoBound = 0.5

type demoCmd struct {
	Speed float64 `help:"Speak so many times as fast; the times shown are then of no meaning." default:"1" placeholder:"N"`
}

func (*demoCmd) Help() string {
	return fmt.Sprintf(`Starts everything that "stenobus up" starts, on free ports and in a temporary directory, and speaks the shipped samples into a WebSocket as fast as a person would.

It fails when a sample comes back without an interim or a final, or when more than %.0f %% of all words are wrong.

Example:

    stenobus demo
`, 100*demoBound)
}

// errDemoOver ends the roles when the demo is over.
var errDemoOver = errors.New("the demo is over")

func (c *demoCmd) Run(p *program) error {
	dir, err := os.MkdirTemp("", "stenobus-demo-")
	if err != nil {
		return fmt.Errorf("directory for the demo: %w", err)
	}
	defer os.RemoveAll(dir)
	up := upCmd{}
	if err := kong.ApplyDefaults(&up, kong.Vars(vars())); err != nil {
		return fmt.Errorf("defaults of up: %w", err)
	}
	up.Listen, up.NatsListen, up.Data = "127.0.0.1:0", "127.0.0.1:0", filepath.Join(dir, "data")
	return c.play(p, &up)
}

// play runs the roles for as long as the samples take.
func (c *demoCmd) play(p *program, up *upCmd) error {
	ctx, over := context.WithCancelCause(p.ctx)
	defer over(nil)
	roles := *p
	roles.ctx = ctx
	var played error
	err := up.run(&roles, func(a addresses) error {
		defer over(errDemoOver)
		played = c.speakAll(p, a)
		return nil
	})
	if err == nil && played == nil && p.ctx.Err() != nil {
		return context.Cause(p.ctx) // before it began
	}
	return errors.Join(played, err)
}

func (c *demoCmd) speakAll(p *program, a addresses) error {
	all := samples.All()
	fmt.Fprintf(p.stdout, `Samples of speech go through a WebSocket, a NATS server with JetStream and an offline
recogniser, all of it in this process, as fast as they are spoken.

  gateway  %s
  bus      %s   (watch it: nats sub 'transcribe.>' --server %s)
`, a.client, a.nats, a.nats)
	var total wer.Score
	var errs []error
	for i, s := range all {
		fmt.Fprintf(p.stdout, "\n%d of %d  %s\n", i+1, len(all), s.Name)
		score, err := c.speak(p, a, s)
		if err != nil {
			errs = append(errs, fmt.Errorf("sample %s: %w", s.Name, err))
		}
		if p.ctx.Err() != nil {
			return context.Cause(p.ctx)
		}
		total = total.Add(score)
	}
	fmt.Fprintf(p.stdout, "\nWord error rate of all samples: %s\n", percent(total))
	if total.Rate() > demoBound {
		errs = append(errs, fmt.Errorf("word error rate %.1f %%, at most %.0f %% is sane", 100*total.Rate(), 100*demoBound))
	}
	return errors.Join(errs...)
}

// speak sends one sample as a session of its own and prints what comes of it.
func (c *demoCmd) speak(p *program, a addresses, s samples.Sample) (wer.Score, error) {
	id, err := subjects.NewSessionID("demo-" + s.Name)
	if err != nil {
		return wer.Score{}, err
	}
	sound, err := clip.Read(s.Name, bytes.NewReader(s.Audio), 0)
	if err != nil {
		return wer.Score{}, err
	}
	fmt.Fprintf(p.stdout, "  subject  %s\n", subjects.Frames(id))
	ear := newListener(p)
	_, err = client.Run(p.ctx, client.Options{
		URL: a.client, Session: string(id), Interims: true, Speed: c.Speed,
	}, []*clip.Clip{sound}, ear)
	ear.screen.clear()
	score := wer.Compare(s.Text, ear.text())
	if err != nil {
		return score, err
	}
	fmt.Fprintf(p.stdout, "  said     %s\n  heard    %s\n  words    %s wrong\n  speed    %s\n",
		s.Text, ear.text(), percent(score), ear.times())
	return score, ear.complaint()
}

func percent(s wer.Score) string {
	return fmt.Sprintf("%.1f %% (%d of %d)", 100*s.Rate(), s.Errors, s.Words)
}
