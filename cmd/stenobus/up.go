package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"stenobus/cmd/stenobus/internal/busserver"
	"stenobus/cmd/stenobus/internal/ops"
)

type upCmd struct {
	Listen     string `help:"Where clients connect; port 0 takes any free one." placeholder:"HOST:PORT" default:"127.0.0.1:8080"`
	NatsListen string `help:"Where the embedded NATS server listens; by default as its configuration says, 127.0.0.1:4222 in the shipped one." placeholder:"HOST:PORT"`
	Data       string `help:"Directory of the streams; by default ${data}, or what --nats-config says." placeholder:"DIR"`
	NatsConfig string `help:"Configuration of the embedded NATS server; by default the shipped nats.conf." placeholder:"FILE"`
	audioLogFlag
	doorFlags
	engineFlags
	GatewayFlags    gatewayFlags    `embed:"" prefix:"gateway-"`
	DispatcherFlags dispatcherFlags `embed:"" prefix:"dispatcher-"`
	WorkerFlags     workerFlags     `embed:"" prefix:"worker-"`
	Bus             busFlags        `embed:"" prefix:"bus-"`
	natsAuthFlags
}

func (*upCmd) Help() string {
	return `It prints one line with its addresses when it is ready. Other roles, tools and workers may join it on its NATS port.

Examples:

    stenobus up
    stenobus up --listen 127.0.0.1:0 --nats-listen 127.0.0.1:0 --data ./stenobus-data
    stenobus up --listen 0.0.0.0:8443 --auth-keys keys --tls-cert cert.pem --tls-key key.pem
    stenobus up --engine tally --log-level debug
`
}

func (c *upCmd) Run(p *program) error {
	return c.run(p, func(a addresses) error {
		_, err := fmt.Fprintf(p.stdout, "stenobus is ready: %s  %s  data %s\n", a.client, a.nats, a.data)
		return err
	})
}

// addresses are where a running stenobus is to be found.
type addresses struct{ client, nats, data string }

// run calls announce when everything is ready and returns when p's context has ended
// and everything has stopped: gateway, worker, dispatcher, bus.
func (c *upCmd) run(p *program, announce func(addresses) error) error {
	engines, err := c.engines()
	if err != nil {
		return err
	}
	defer engines.close()
	l, err := listen("--listen", c.Listen)
	if err != nil {
		return err
	}
	defer l.Close()
	reg := ops.NewRegistry()
	d, err := c.open(l, c.GatewayFlags.Principal != "", "--gateway-principal-header", reg, p.log)
	if err != nil {
		return err
	}
	bus, err := c.startBus(p)
	if err != nil {
		return err
	}
	a := addresses{
		client: d.socket(),
		nats:   bus.ClientURL(),
		data:   bus.Dir,
	}
	i := inside{cmd: c, p: p, bus: bus}
	defer i.close()
	parts, err := i.parts(d, reg, engines)
	if err == nil {
		err = runParts(p.ctx, p.log, func() error { return announce(a) }, parts...)
	}
	i.close()
	return errors.Join(err, bus.Stop())
}

func (c *upCmd) startBus(p *program) (*busserver.Server, error) {
	dir := c.Data
	if dir == "" && c.NatsConfig == "" {
		dir = defaultDataDir()
	}
	return openBus(p, busserver.Config{
		File: c.NatsConfig, Listen: c.NatsListen, Dir: dir, Log: p.log,
	}, "--nats-listen and --data")
}

// openBus names the flags that help where an address or a directory is not free.
func openBus(p *program, cfg busserver.Config, flags string) (*busserver.Server, error) {
	s, err := busserver.Start(p.ctx, cfg)
	switch {
	case errors.Is(err, busserver.ErrInUse), errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w (see %s)", err, flags)
	case errors.Is(err, busserver.ErrConfig):
		return nil, usageError("%w", err)
	}
	return s, err
}

// defaultDataDir is where a user's programs keep their state.
func defaultDataDir() string {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "stenobus")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(os.TempDir(), fmt.Sprintf("stenobus-%d", os.Getuid()))
	}
	return filepath.Join(home, ".local", "state", "stenobus")
}
