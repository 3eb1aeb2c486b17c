package main

import (
	"context"
	"errors"
	"fmt"

	"stenobus/cmd/stenobus/internal/busserver"
)

type busCmd struct {
	Listen        string   `help:"Where clients of NATS connect; by default as the configuration says, 127.0.0.1:4222 in the shipped one." placeholder:"HOST:PORT"`
	Data          string   `help:"Directory of the streams; by default ${data}, or what --config says." placeholder:"DIR"`
	Config        string   `help:"Configuration of the NATS server; by default the shipped nats.conf." placeholder:"FILE"`
	MonitorListen string   `help:"Where the server shows its own pages, such as /varz; none by default." placeholder:"HOST:PORT"`
	Name          string   `help:"Name of the server, needed in a cluster." group:"Cluster"`
	ClusterListen string   `help:"Where the other members of the cluster connect." placeholder:"HOST:PORT" group:"Cluster"`
	Routes        []string `help:"The members of the cluster, with commas between them; this one may be among them." placeholder:"URL" group:"Cluster"`
	Cell          string   `help:"Name of the cluster, where there are others beside it." placeholder:"NAME" group:"Cells"`
	GatewayListen string   `help:"Where the servers of other cells connect." placeholder:"HOST:PORT" group:"Cells"`
	Gateways      []string `help:"Servers of cells, with commas between them; a cell is named as often as it has servers, this one may be among them." placeholder:"CELL=URL" group:"Cells"`
	NoStore       bool     `help:"Keep no streams: another cell keeps them for all." group:"Cells"`
}

func (*busCmd) Help() string {
	return `It is the NATS server that "up" runs inside itself, as a process of its own, with the shipped nats.conf compiled in. A nats-server with that file does the same.

Three of them make a cluster that survives the loss of one. Each has a name and a directory of its own and lists all of them; start the roles with --bus-replicas 3.

Several clusters, each with roles of its own, are cells: sessions stay in theirs while it has room. One cluster keeps the streams of all; it has three servers and names no other cell, for a server with streams takes whom it names for a peer. The others run with --no-store.

Examples:

    stenobus bus
    stenobus bus --listen 127.0.0.1:4223 --data ./bus-data
    stenobus bus --name nats-1 --data ./nats-1 --cluster-listen 127.0.0.1:6222 --routes nats://127.0.0.1:6222,nats://127.0.0.1:6223,nats://127.0.0.1:6224
    stenobus bus --name east-1 --cell east --no-store --listen 127.0.0.1:4230 --gateway-listen 127.0.0.1:7230 --gateways store=nats://127.0.0.1:7222,store=nats://127.0.0.1:7223,west=nats://127.0.0.1:7240
`
}

func (c *busCmd) Run(p *program) error {
	dir := c.Data
	if c.NoStore && dir != "" {
		return usageError("--no-store and --data exclude each other")
	}
	if dir == "" && c.Config == "" {
		dir = defaultDataDir()
	}
	bus, err := openBus(p, busserver.Config{
		File: c.Config, Listen: c.Listen, Dir: dir, Log: p.log,
		Name: c.Name, Monitor: c.MonitorListen, Cluster: c.ClusterListen, Routes: c.Routes,
		Cell: c.Cell, Gateway: c.GatewayListen, Gateways: c.Gateways, NoStore: c.NoStore,
	}, "--listen and --data")
	if err != nil {
		return err
	}
	err = runParts(p.ctx, p.log, func() error {
		at := ""
		if bus.Dir != "" {
			at = "  data " + bus.Dir
		}
		_, err := fmt.Fprintf(p.stdout, "stenobus bus is ready: %s%s\n", bus.ClientURL(), at)
		return err
	}, part{name: "bus", run: func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	}})
	return errors.Join(err, bus.Stop())
}
