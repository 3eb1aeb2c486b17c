package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"stenobus/cmd/stenobus/internal/client"
	"stenobus/cmd/stenobus/internal/clip"
	"stenobus/cmd/stenobus/internal/front"
)

type sendCmd struct {
	Files    []string      `arg:"" name:"file" help:"Ogg-Opus, WAV, or with --pcm-rate raw PCM (s16le, mono). Each file is one source of the session."`
	URL      string        `help:"The gateway." default:"ws://127.0.0.1:8080/transcribe"`
	Session  string        `help:"Session id; the gateway makes one up by default." placeholder:"ID"`
	Language string        `help:"Language spoken, such as en or pt-BR." placeholder:"TAG"`
	Realtime bool          `help:"Send as fast as it was spoken." xor:"pace"`
	Speed    float64       `help:"Send so many times as fast as it was spoken; by default as fast as the gateway keeps up." placeholder:"N" xor:"pace"`
	Format   string        `help:"What to print: ${enum}. json is one neutral result a line." enum:"text,json" default:"text"`
	Interim  *bool         `help:"Show interims; by default in place on a terminal, and always with json." negatable:""`
	PCMRate  int           `name:"pcm-rate" help:"Samples/s of files that are raw PCM." placeholder:"HZ"`
	Ahead    time.Duration `help:"Most audio of a source that was sent and is not covered by a result yet." default:"20s"`
	Wait     time.Duration `help:"How long to wait for the last finals after the end of the audio." default:"60s"`
	clientFlags
}

func (*sendCmd) Help() string {
	return `Finals go to standard output; progress and the summary go to standard error.

Examples:

    stenobus send speech.ogg
    stenobus send --realtime alice.wav bob.ogg
    stenobus send --format json --session meeting-7 speech.ogg | jq .text
    stenobus send --url wss://stt.example.com/transcribe --key-file bridge-1.key speech.ogg
    arecord -f S16_LE -r 16000 | stenobus send --pcm-rate 16000 /dev/stdin
`
}

// Validate is called by the parser.
func (c *sendCmd) Validate() error {
	u, err := url.Parse(c.URL)
	if err != nil || (u.Scheme != "ws" && u.Scheme != "wss" && u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("--url %q: want ws://host:port/transcribe or wss://", c.URL)
	}
	for _, d := range []struct {
		flag string
		ok   bool
	}{
		{"--speed", c.Speed >= 0 && c.Speed <= 1000},
		{"--pcm-rate", c.PCMRate >= 0 && c.PCMRate <= 384_000},
		{"--ahead", c.Ahead >= time.Second},
		{"--wait", c.Wait > 0},
	} {
		if !d.ok {
			return fmt.Errorf("%s is out of range", d.flag)
		}
	}
	return nil
}

func (c *sendCmd) Run(p *program) error {
	opts, err := c.options(p)
	if err != nil {
		return err
	}
	clips, err := openClips(c.Files, c.PCMRate)
	if err != nil {
		return err
	}
	defer closeClips(clips)
	out := c.printer(p)
	summary, err := client.Run(p.ctx, opts, clips, out)
	out.screen.clear()
	if err != nil {
		return sendError(err)
	}
	fmt.Fprintln(p.stderr, describe(summary, len(clips)))
	if summary.Unaccounted != 0 {
		return fmt.Errorf("%d frames are unaccounted for", summary.Unaccounted)
	}
	return nil
}

func (c *sendCmd) options(p *program) (client.Options, error) {
	key, err := c.key()
	if err != nil {
		return client.Options{}, err
	}
	roots, err := c.roots()
	if err != nil {
		return client.Options{}, err
	}
	if u, err := url.Parse(c.URL); err == nil && key != "" && (u.Scheme == "ws" || u.Scheme == "http") && !front.Loopback(u.Hostname()) {
		p.log.Warn("the key goes over the network in the clear: --url has no TLS", "host", u.Host)
	}
	speed := c.Speed
	if c.Realtime {
		speed = 1
	}
	return client.Options{
		URL: c.URL, Session: c.Session, Language: c.Language, Interims: c.interims(p),
		Speed: speed, Ahead: c.Ahead, Wait: c.Wait, Key: key, Roots: roots,
	}, nil
}

func (c *sendCmd) interims(p *program) bool {
	if c.Interim != nil {
		return *c.Interim
	}
	return c.Format == "json" || isTerminal(p.stdout)
}

func (c *sendCmd) printer(p *program) *printer {
	return &printer{
		out: p.stdout, notes: p.stderr, screen: newScreen(p.stderr, p.stdout), json: c.Format == "json",
		interims: c.interims(p), inPlace: isTerminal(p.stdout), several: len(c.Files) > 1,
	}
}

// openClips opens every file before anything is sent, and names all that can't be.
func openClips(files []string, pcmRate int) ([]*clip.Clip, error) {
	var clips []*clip.Clip
	var errs []error
	for _, f := range files {
		c, err := clip.Open(f, pcmRate)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		clips = append(clips, c)
	}
	if len(errs) > 0 {
		closeClips(clips)
		return nil, usageError("%w", errors.Join(errs...))
	}
	clip.Distinct(clips)
	return clips, nil
}

func closeClips(clips []*clip.Clip) {
	for _, c := range clips {
		_ = c.Close() // only read from
	}
}

// sendError gives an error of the client the exit code that it deserves.
func sendError(err error) error {
	var refused *client.Refused
	if errors.As(err, &refused) || errors.Is(err, client.ErrUnreachable) {
		return &exitError{exitRefused, err}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the gateway does not keep up: %w", err)
	}
	return err
}

func describe(s client.Summary, sources int) string {
	return fmt.Sprintf("%s, %.1f s of audio in %.1f s: %s, %s",
		count(sources, "source"), s.Audio.Seconds(), s.Took.Seconds(),
		count(s.Finals, "final"), count(int(s.Frames), "frame"))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
