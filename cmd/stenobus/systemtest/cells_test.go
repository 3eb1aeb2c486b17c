package systemtest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
)

// cell is a deployment in one cell of a supercluster.
type cell struct {
	*system
	name    string
	metrics *prometheus.Registry // of its dispatcher
	node    *node                // the dispatcher
	gw      *node
}

// newCells starts a supercluster with a dispatcher and a gateway in every cell.
func newCells(t testing.TB, cfg dispatcher.Config, gw gateway.Config, names ...string) (*subjectstest.Supercluster, map[string]*cell) {
	t.Helper()
	sc := subjectstest.NewSupercluster(t, names...)
	cells := map[string]*cell{}
	for _, name := range names {
		s := &system{t: t, bus: sc.Cell(name), secrets: watchSecrets(t)}
		s.nc = s.bus.Dial()
		s.js, _ = jetstream.New(s.nc)
		// The store may have a leader that has not heard of all its servers yet.
		if _, err := subjects.Await(s.ctx(), s.js, subjects.BusConfig{Replicas: 3}, func(error) {}); err != nil {
			t.Fatal(err)
		}
		c := &cell{system: s, name: name, metrics: prometheus.NewRegistry()}
		cfg.Name, cfg.Metrics = "dispatcher-"+name, c.metrics
		c.node = s.dispatcher(cfg)
		gw.Name, gw.Bus.Replicas = "gateway-"+name, 3
		c.gw = s.gateway(gw)
		cells[name] = c
	}
	return sc, cells
}

// fleet starts n workers, named after their cell.
func (c *cell) fleet(n, slots int) (nodes []*node) {
	c.t.Helper()
	for i := range n {
		nodes = append(nodes, c.worker(worker.Config{ID: fmt.Sprintf("%s-%d", c.name, i+1), Slots: slots}))
	}
	return nodes
}

// sees waits until the cell's dispatcher knows of so many free slots.
func (c *cell) sees(slots int) {
	c.t.Helper()
	subjectstest.Eventually(c.t, "the dispatcher knows the workers", func() bool {
		return c.metric("stenobus_dispatcher_free_slots") == float64(slots)
	})
}

// metric sums a metric of the cell's dispatcher over all whose labels have these values.
func (c *cell) metric(name string, with ...string) (sum float64) {
	c.t.Helper()
	families, err := c.metrics.Gather()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			if containsAll(labels, with) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func containsAll(all, some []string) bool {
	for _, s := range some {
		if !slices.Contains(all, s) {
			return false
		}
	}
	return true
}

// Every session is claimed and placed in the cell of its client while there is room.
func TestSessionsStayInTheirCell(t *testing.T) {
	t.Parallel()
	// A worker of a busy machine must not seem to be away.
	_, cells := newCells(t, dispatcher.Config{AssignWait: 1700 * time.Millisecond}, gateway.Config{}, "east", "west")
	const workers, slots, sessions = 2, 8, 12
	for _, c := range cells {
		c.fleet(workers, slots)
	}
	var open sync.WaitGroup
	var mu sync.Mutex // guards clients
	clients := map[string]*client{}
	for name, c := range cells {
		c.sees(len(cells) * workers * slots)
		for i := range sessions {
			open.Go(func() {
				id := fmt.Sprintf("%s-%d", name, i)
				cl, err := tryDial(t, c.gw, named(id))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				clients[id] = cl
			})
		}
	}
	open.Wait()
	local := 0
	for id, cl := range clients {
		cl.start("a")
		cl.speak("a", 60)
		cl.until("a final", func() bool { return len(cl.finals) > 0 })
		home, _, _ := strings.Cut(id, "-")
		rec := cells[home].record(id)
		if strings.HasPrefix(string(rec.Worker), home) {
			local++
		} else {
			t.Errorf("session %s is on %s: %s", id, rec.Worker, rec.Why)
		}
	}
	t.Logf("%d of %d sessions are on a worker of their own cell (%.0f %%)", local, len(clients), 100*float64(local)/float64(len(clients)))
	for _, cl := range clients {
		cl.finish()
	}
	for _, c := range cells {
		if got := c.metric("stenobus_dispatcher_claims_total", "attach", "ok"); got < sessions {
			t.Errorf("the dispatcher of %s granted %v claims of %d", c.name, got, sessions)
		}
		if got := c.metric("stenobus_dispatcher_spilled_total"); got != 0 {
			t.Errorf("the dispatcher of %s counts %v spilled sessions", c.name, got)
		}
	}
}

// A cell without room: its next session goes to another cell, or waits for a slot at home.
func TestSpillOver(t *testing.T) {
	t.Parallel()
	for spill, elsewhere := range map[string]bool{dispatcher.SpillFull: true, dispatcher.SpillNever: false} {
		t.Run(spill, func(t *testing.T) {
			t.Parallel()
			_, cells := newCells(t, dispatcher.Config{Spill: spill}, gateway.Config{}, "east", "west")
			east := cells["east"]
			east.fleet(1, 1)
			cells["west"].fleet(1, 5)
			east.sees(6)
			first := dial(t, east.gw, named("first"))
			first.start("a")
			first.speak("a", 60)
			first.until("a final", func() bool { return len(first.finals) > 0 })
			if w := east.record("first").Worker; w != "east-1" {
				t.Errorf("the first session is on %s", w)
			}

			second := dial(t, east.gw, named("second"))
			second.start("a")
			second.speak("a", 60)
			if !elsewhere {
				second.until("the client is told that it waits", func() bool { return second.note("waiting", "") != nil })
				if text := second.told("waiting", "").Message; !strings.Contains(text, "1 in other cells than east") {
					t.Errorf("the client is told %q", text)
				}
				first.finish()
			}
			second.until("a final", func() bool { return len(second.finals) > 0 })
			rec := east.record("second")
			if want := subjects.WorkerID("west-1"); elsewhere && rec.Worker != want || !elsewhere && rec.Worker != "east-1" {
				t.Errorf("the second session is on %s: %s", rec.Worker, rec.Why)
			}
			spilled := 0.0
			for _, c := range cells {
				spilled += c.metric("stenobus_dispatcher_spilled_total")
			}
			if says := strings.Contains(rec.Why, "in cell west as east has no room for it"); says != elsewhere || spilled > 0 != elsewhere {
				t.Errorf("%v sessions spilled, and it is said: %s", spilled, rec.Why)
			}
			second.finish()
			if elsewhere {
				first.finish()
			}
		})
	}
}

// A cell dies with everything in it, a server of the store too. Its clients come back in
// the other cell, and sessions that had spilled into it move home; nothing that was on
// the bus is lost, and who had nothing to do with it notices nothing.
func TestCellDies(t *testing.T) {
	t.Parallel()
	for _, leader := range []string{"store-1", "store-3"} {
		t.Run("led by "+leader, func(t *testing.T) {
			t.Parallel()
			sc, cells := newCells(t, dispatcher.Config{}, logging(15*time.Second), "east", "west")
			east, west := cells["east"], cells["west"]
			eastern := east.worker(patientWorker("east-1"))
			western := worker.Config{ID: "west-1", Slots: 1}
			west.worker(western)
			west.sees(101)
			subjectstest.Lead(t, west.nc, leader)

			settled := dial(t, west.gw, named("settled"))
			settled.start("a")
			settled.speak("a", 60)
			settled.until("a final", func() bool { return len(settled.finals) > 0 })
			spilled := dial(t, west.gw, named("spilled"))
			spilled.start("a")
			spilled.speak("a", 120)
			spilled.until("finals", func() bool { return len(spilled.finals) == 2 })
			if w := west.record("spilled").Worker; w != "east-1" {
				t.Fatalf("the session that should spill is on %s", w)
			}
			seen := west.onlooker("moved")
			moved := dial(t, east.gw, named("moved"))
			moved.start("a")
			moved.start("b")
			seen.spoken(moved, 70)
			moved.until("finals", func() bool { return len(moved.finals) == 2 })
			cursor := moved.finals[1].Cursor
			west.worker(worker.Config{ID: "west-2"})
			west.sees(100 + 98)

			died := time.Now()
			var dying sync.WaitGroup
			dying.Go(sc.Store[0].Stop) // it hands its leadership over; killed hard it would not, see TestCellIsKilled
			dying.Go(sc.Cell("east").Stop)
			together(east.gw, eastern, east.node)
			dying.Wait()
			back := dial(t, west.gw, after("moved", cursor))
			spilled.speak("a", 60)
			settled.speak("a", 60)
			back.start("a")
			back.speak("a", 60)
			spilled.until("finals after its worker died", func() bool { return len(spilled.finals) > 2 })
			t.Logf("a session whose worker died has its next final after %v", time.Since(died).Round(time.Millisecond))
			back.until("finals in the other cell", func() bool { return len(back.finals) > 0 })
			t.Logf("a client of the dead cell has its next final after %v", time.Since(died).Round(time.Millisecond))
			for _, id := range []string{"spilled", "moved"} {
				if w := west.record(id).Worker; w != "west-2" {
					t.Errorf("session %s is on %s", id, w)
				}
			}
			spilled.finish()
			settled.finish()
			settled.stayed()
			back.end()
			back.closed()
			seen.covered()
			if e := back.told("ended", ""); e == nil || e.Accepted["a"] != 130 || e.Accepted["b"] != 70 || *e.Unaccounted != 0 {
				t.Errorf("ended: %+v", e)
			}
		})
	}
}
