package main

import (
	"errors"
	"fmt"
	"net/http"

	"stenobus/cmd/stenobus/internal/bench"
)

// benchPipeCmd measures the pipe alone.
type benchPipeCmd struct{ loadFlags }

func (*benchPipeCmd) Help() string {
	return `The bare pipe is the least that any path of this kind must do: read a WebSocket message, publish it on core NATS once, count it in one subscriber, each in a process of its own. "stenobus bench" measures it in the same run as the whole path.

Examples:

    stenobus bench pipe
    stenobus bench pipe --sessions 500 --json
`
}

// Validate is called by the parser.
func (c *benchPipeCmd) Validate() error {
	if c.Rate == 0 {
		return errors.New("--rate is out of range: want above 0, as silence costs a pipe nothing")
	}
	return c.check()
}

func (c *benchPipeCmd) Run(p *program) error {
	cfg := c.config()
	cfg.NoPath = true
	return measure(p, c.JSON, func(cfg bench.Config) (bench.Result, error) { return bench.Run(p.ctx, cfg) }, cfg)
}

// pipePartCmd is one process of a pipe: what reads WebSockets and publishes, or what
// subscribes. "bench" starts both.
type pipePartCmd struct {
	Subscribe bool `help:"Be the subscriber."`
	natsFlags
}

func (c *pipePartCmd) Run(p *program) error {
	l, err := listen("--listen", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	conn, err := c.dial(p, "bench")
	if err != nil {
		return err
	}
	defer conn.close()
	if err := conn.await(p.ctx); err != nil {
		return err
	}
	var h http.Handler
	at := fmt.Sprintf("ws://%s/", l.Addr())
	if c.Subscribe {
		at = fmt.Sprintf("http://%s/", l.Addr())
		h, err = bench.Subscriber(p.ctx, conn.Conn)
	} else {
		h = bench.Publisher(p.ctx, conn.Conn)
	}
	if err != nil {
		return err
	}
	return runParts(p.ctx, p.log, func() error {
		_, err := fmt.Fprintf(p.stdout, "stenobus bench-pipe is ready: %s\n", at)
		return err
	}, httpPart(plainDoor(l), h, p.log))
}
