package main

import (
	"context"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
)

// Five processes of the program are two cells and the store of both: streams asked for in
// one cell are made in the store, and a worker finds the name of its cell by itself.
func TestBusCells(t *testing.T) {
	t.Parallel()
	var routes, gates []string
	var at [3]string
	for i := range at {
		at[i] = freePort(t)
		routes = append(routes, "nats://"+at[i])
	}
	for i, name := range []string{"store-1", "store-2", "store-3"} {
		gate := freePort(t)
		gates = append(gates, "store=nats://"+gate)
		spawn(t, "bus", "--name", name, "--cell", "store", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--gateway-listen", gate,
			"--cluster-listen", at[i], "--routes", strings.Join(routes, ","), "--log-level", "error").ready()
	}
	east, west := freePort(t), freePort(t)
	gates = append(gates, "east=nats://"+east, "west=nats://"+west)
	urls := map[string]string{}
	for name, gate := range map[string]string{"east": east, "west": west} {
		p := spawn(t, "bus", "--name", name+"-1", "--cell", name, "--no-store", "--listen", "127.0.0.1:0",
			"--gateway-listen", gate, "--gateways", strings.Join(gates, ","), "--log-level", "error")
		urls[name] = p.ready()[0]
	}
	nc, err := nats.Connect(urls["east"])
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got := subjects.Cell(nc, ""); got != "east" {
		t.Errorf("the cell of a server of east is %q", got)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testWait)
	defer cancel()
	bus, err := subjects.Await(ctx, js, subjects.BusConfig{Replicas: 3}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	if at := bus.Results.CachedInfo().Cluster.Name; at != "store" {
		t.Errorf("results are kept in %q", at)
	}
	spawn(t, "worker", "--engine", "tally", "--id", "found", "--nats", urls["west"], "--bus-replicas", "3").ready()
	spawn(t, "worker", "--engine", "tally", "--id", "named", "--nats", urls["west"], "--bus-replicas", "3", "--cell", "north").ready()
	for id, want := range map[subjects.WorkerID]string{"found": "west", "named": "north"} {
		subjectstest.Eventually(t, "the report of "+string(id), func() bool {
			e, err := bus.Workers.Get(ctx, id.Token())
			if err != nil {
				return false
			}
			r, err := subjects.DecodeDoc[subjects.WorkerReport]("report", e.Value())
			if err != nil || r.Cell != want {
				t.Errorf("report of %s: %+v, %v, want cell %s", id, r, err, want)
			}
			return true
		})
	}
}
