package main

import (
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/cmd/stenobus/internal/child"
	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
)

// cellBuses are the arguments of five servers, by name: two cells, and the store of both.
func cellBuses(t *testing.T) map[string][]string {
	t.Helper()
	buses := map[string][]string{}
	var routes, gates []string
	at := subjectstest.Reserve(t, 8)
	for i := range 3 {
		routes = append(routes, "nats://"+at[i])
	}
	for i, name := range []string{"store-1", "store-2", "store-3"} {
		gate := at[3+i]
		gates = append(gates, "store=nats://"+gate)
		buses[name] = []string{"bus", "--name", name, "--cell", "store", "--listen", "127.0.0.1:0", "--data", t.TempDir(),
			"--gateway-listen", gate, "--cluster-listen", at[i], "--routes", strings.Join(routes, ","), "--log-level", "error"}
	}
	east, west := at[6], at[7]
	gates = append(gates, "east=nats://"+east, "west=nats://"+west)
	for name, gate := range map[string]string{"east": east, "west": west} {
		buses[name] = []string{"bus", "--name", name + "-1", "--cell", name, "--no-store", "--listen", "127.0.0.1:0",
			"--gateway-listen", gate, "--gateways", strings.Join(gates, ","), "--log-level", "error"}
	}
	return buses
}

// Five processes of the program are two cells and the store of both: streams asked for in
// one cell are made in the store, and a worker finds the name of its cell by itself.
func TestBusCells(t *testing.T) {
	t.Parallel()
	urls := map[string]string{}
	for name, args := range cellBuses(t) {
		urls[name] = spawn(t, args...).ready()[0]
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
	if at := bus.Results.Streams()[0].CachedInfo().Cluster.Name; at != "store" {
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

// A cell is killed hard, with the server of the store that leads. Where another one of them
// stops TestCellDies sees it.
func TestCellIsKilled(t *testing.T) {
	t.Parallel()
	buses := map[string]*child.Child{}
	for name, args := range cellBuses(t) {
		buses[name] = offspring(t, args...)
	}
	m := &machine{t: t, frames: map[uint64]bool{}}
	m.watch(buses["west"].URL())
	roles := func(cell string) (out [3][]string) {
		for i, args := range [][]string{
			{"dispatcher"}, {"worker", "--engine", "tally", "--id", "at-" + cell},
			{"gateway", "--audio-log", "--listen", "127.0.0.1:0"},
		} {
			out[i] = append(args, "--nats", buses[cell].URL(), "--bus-replicas", "3", "--log-level", "error")
		}
		return out
	}
	dying := []*child.Child{buses["east"], buses["store-1"]}
	for _, args := range roles("east") {
		c := offspring(t, args...)
		m.url = c.URL() + "/transcribe" // of the last one, the gateway
		dying = append(dying, c)
	}
	west := ""
	for _, args := range roles("west") {
		west = spawn(t, args...).ready()[0] + "/transcribe"
	}
	subjectstest.Lead(t, m.nc, "store-1")
	m.speak(130)

	heard := m.firstFinalOf("at-west")
	died := time.Now()
	var all sync.WaitGroup
	for _, c := range dying {
		all.Go(c.Kill)
	}
	all.Wait()
	m.url = west
	c := m.say(70) // the log has no leader for a while, and nobody waits for it
	m.t.Logf("a client of the dead cell has its next final after %v", (<-heard).Sub(died).Round(time.Millisecond))
	if err := c.Write(m.ctx(), websocket.MessageText, []byte(`{"event":"session-end"}`)); err != nil {
		t.Fatal(err)
	}
	in := m.covered()
	m.mu.Lock()
	defer m.mu.Unlock()
	for n := range m.frames {
		if in[n] != 1 {
			t.Errorf("frame %d is in %d finals", n, in[n])
		}
	}
	if len(in) != 200 {
		t.Errorf("%d frames are covered, want 200", len(in))
	}
}

// offspring is the program as a process of its own.
func offspring(t *testing.T, args ...string) *child.Child {
	t.Helper()
	c, err := child.Start(t.Context(), child.Config{Program: os.Args[0], Args: args, Log: io.Discard, Ready: testWait})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	return c
}

// firstFinalOf tells when the first final of a worker is stored.
func (m *machine) firstFinalOf(worker string) <-chan time.Time {
	m.t.Helper()
	at := make(chan time.Time, 1)
	owner := ""
	_, err := m.nc.Subscribe(subjects.Inbox("room", subjects.ChannelResult), func(msg *nats.Msg) {
		var e subjects.Envelope
		if e.ParseMsg(msg) != nil {
			return
		}
		if o, err := subjects.Decode[subjects.Owner](e.Kind, msg.Data); e.Kind == subjects.KindOwner && err == nil {
			owner = o.Worker
		}
		if e.Kind == subjects.KindFinal && owner == worker {
			select {
			case at <- time.Now():
			default: // a later one
			}
		}
	})
	if err == nil {
		err = m.nc.Flush()
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return at
}
