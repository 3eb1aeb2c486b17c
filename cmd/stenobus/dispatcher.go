package main

import (
	"time"

	"stenobus/cmd/stenobus/internal/ops"
	"stenobus/dispatcher"
)

type dispatcherCmd struct {
	metricsFlags
	dispatcherFlags
	Bus busFlags `embed:"" prefix:"bus-"`
	natsFlags
	cellFlag
}

// dispatcherFlags are dispatcher.Config.
type dispatcherFlags struct {
	Name         string        `help:"Name on the bus and in logs; random by default." group:"Dispatcher"`
	Strategy     string        `help:"How a worker is chosen: ${enum}. spread takes the less loaded of two, pack the fullest with room, hash the same one for the same id, dedicated one without a session." enum:"spread,pack,hash,dedicated" default:"spread" group:"Dispatcher"`
	Spill        string        `help:"When a session may be placed outside of the cell of its gateway: ${enum}. full is when no worker there has room for it and answers; never lets it wait." enum:"full,never" default:"full" group:"Dispatcher"`
	AssignWait   time.Duration `help:"A worker that has not answered for so long is passed over." default:"500ms" group:"Dispatcher"`
	AssignTries  int           `help:"Most workers that one claim waits for in vain." default:"4" group:"Dispatcher"`
	RecordExpiry time.Duration `help:"A session's record that is not renewed for so long is gone." default:"2m" group:"Dispatcher"`
}

func (f *dispatcherFlags) config(w wiring) dispatcher.Config {
	return dispatcher.Config{
		Name:    f.Name,
		Version: version,
		Log:     w.log.With("role", "dispatcher"),
		Metrics: w.metrics,
		Bus:     w.bus,

		Cell:         w.cell,
		Spill:        f.Spill,
		Strategy:     f.Strategy,
		AssignWait:   f.AssignWait,
		AssignTries:  f.AssignTries,
		RecordExpiry: f.RecordExpiry,
	}
}

func (*dispatcherCmd) Help() string {
	return `Run as many as you like: any dispatcher serves any session.

Examples:

    stenobus dispatcher
    stenobus dispatcher --nats nats://nats-1:4222,nats://nats-2:4222 --metrics-listen 127.0.0.1:9101
`
}

func (c *dispatcherCmd) Run(p *program) error {
	l, err := c.listen()
	if err != nil {
		return err
	}
	if l != nil {
		defer l.Close()
	}
	conn, err := c.dial(p, "dispatcher")
	if err != nil {
		return err
	}
	reg := ops.NewRegistry()
	r, err := newDispatcher(conn, c.config(wiring{p.log, reg, c.Bus.config(), c.Cell}))
	if err != nil {
		conn.close()
		return err
	}
	return runRole(p, r, plainDoor(l), r.pages(reg, nil))
}

func newDispatcher(conn *busConn, cfg dispatcher.Config) (*role, error) {
	d, err := dispatcher.New(conn.Conn, cfg)
	if err != nil {
		return nil, usageError("%w", err)
	}
	return &role{
		name: "dispatcher", conn: conn, serve: d.Run, healthy: d.Ready,
		stats: func() any { return d.Stats() },
	}, nil
}
