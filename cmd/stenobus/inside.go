package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"stenobus/cmd/stenobus/internal/busserver"
)

// inside is every role in this process, each with a connection of its own to the
// server in this process.
type inside struct {
	cmd   *upCmd
	p     *program
	bus   *busserver.Server
	conns []*busConn
}

// parts makes the roles, in the order in which they start; they stop in the opposite one.
func (i *inside) parts(door *door, reg *prometheus.Registry, engines engineSet) ([]part, error) {
	with := wiring{i.p.log, reg, i.cmd.Bus.config(), ""}
	var d, w, g *busConn
	for name, conn := range map[string]**busConn{"dispatcher": &d, "worker": &w, "gateway": &g} {
		var err error
		if *conn, err = i.dial(name); err != nil {
			return nil, err
		}
	}
	dispatcher, err := newDispatcher(d, i.cmd.DispatcherFlags.config(with))
	if err != nil {
		return nil, err
	}
	worker, err := newWorker(w, i.cmd.WorkerFlags.config(with, &i.cmd.engineFlags), engines)
	if err != nil {
		return nil, err
	}
	cfg := i.cmd.apply(i.cmd.GatewayFlags.config(with))
	cfg.Auth = door.auth
	gateway, clients, err := newGateway(g, cfg, door.ready)
	if err != nil {
		return nil, err
	}
	return append(door.keepers,
		dispatcher.part(),
		worker.part(),
		httpPart(door, gateway.pages(reg, clients), i.p.log),
		gateway.part(),
	), nil
}

func (i *inside) dial(name string) (*busConn, error) {
	conn, err := i.cmd.dialInside(i.p, name, i.bus)
	if err == nil {
		i.conns = append(i.conns, conn)
	}
	return conn, err
}

// close ends the connections. It may be called twice.
func (i *inside) close() {
	for _, conn := range i.conns {
		conn.close()
	}
	i.conns = nil
}
