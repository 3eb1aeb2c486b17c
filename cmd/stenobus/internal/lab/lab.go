// Package lab puts a deployment of Stenobus under load, breaks parts of it by a schedule
// that follows from a seed, and proves as an outsider what became of every frame and
// every final: from its own clients, the stored results and what anyone sees on the bus.
package lab

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"stenobus/worker/engine/tally"
)

// Verdicts of a run.
const (
	Pass        = "pass"
	Failed      = "fail"
	Interrupted = "interrupted"
)

const (
	tickEvery   = time.Second
	verifyWait  = 10 * time.Minute // an hour of results is some millions
	bytesAFinal = 1500             // of a result in the store, with room to spare
)

// Config of a run. Fields without a remark are needed.
type Config struct {
	Sessions   int
	Sources    int           // of each session
	Rate       float64       // frames a second of each source
	FrameBytes int           // of a frame
	Every      int           // frames to a final
	Life       time.Duration // of a session, on average, before the next takes its place; 0: the whole run
	Ramp       time.Duration // over which sessions open
	Duration   time.Duration // from then on; faults that are late make it longer
	Seed       uint64
	Mix        Mix

	Gateways, Dispatchers, Workers int

	Streams  int  // of the results log; 0: 1
	AudioLog bool // the gateways keep audio too
	Watch    bool // with an extra subscriber to everything
	Speech   bool // speak the samples to an engine that recognises them, and kill its worker in mid sentence

	Program  string   // that is started
	Programs []string // and in its place for every second process of each role

	URLs        []string      // gateways of a deployment that runs already; none: start one
	NATS        []string      // its bus
	NATSOptions []nats.Option // for the bus

	Key   string         // API key or token to show its gateways; empty: none
	Roots *x509.CertPool // that their certificates are checked against; nil: the system's

	Dir      string // for data and logs
	Progress func(Progress)
	Note     func(text string) // a line for people
}

// slots are the sessions that one worker may hold, so that the others have room for its
// own while it is away, and for probes.
func (c *Config) slots() int {
	left := max(c.Workers-(c.Workers+2)/3, 1)
	return (c.Sessions+left-1)/left + 2*probes + 4
}

// resultsBytes is the room for the results of the whole run.
func (c *Config) resultsBytes() int {
	each := float64(c.Sessions*c.Sources) * c.Rate / float64(max(c.Every, 1))
	return int(min(max(each*(c.Duration+c.Duration/2+time.Minute).Seconds()*bytesAFinal, 256<<20), 7<<30))
}

func (c *Config) plan() Plan {
	mix := c.Mix.Only(len(c.URLs) > 0)
	return Plan{
		Seed: c.Seed, Mix: mix, Duration: c.Duration, Nodes: busNodes,
		Gateways: c.Gateways, Dispatchers: c.Dispatchers, Workers: c.Workers, Sessions: c.Sessions,
	}
}

// Progress is where a run stands.
type Progress struct {
	Phase    string
	Elapsed  time.Duration
	Sessions int
	Frames   uint64
	Finals   uint64
	Done     int
	Faults   int
	Present  string // the fault under way
	Wrongs   uint64
}

// run is one run of the lab.
type run struct {
	cfg      Config
	schedule []Fault
	fleet    *fleet // nil: the deployment is others'
	disk     *disk
	onlooker *onlooker
	crew     *crew
	injector *injector

	wrongs     *wrongs
	recoveries *recoveries
	idle       map[string]int // goroutines of each role when it was new
	began      time.Time
	open       time.Time // all sessions are open
	took       time.Duration
	phase      atomic.Value // string
	accepted   uint64
	refused    uint64
	strays     map[string]bool // keys that a list has and the leader has not
	spoken     []SpeechReport
	unproved   error            // why the results could not be checked
	cpu        [2]time.Duration // of the deployment and of the lab, over the steady phase
}

// Run runs the lab. Where ctx ends early the report says what was found up to then. An
// error means that the run itself could not be made; there is a report all the same.
func Run(ctx context.Context, cfg Config) (Report, error) {
	r := &run{cfg: cfg, schedule: Draw(cfg.plan()), wrongs: newWrongs(), recoveries: newRecoveries(), began: time.Now()}
	err := r.run(ctx)
	out := r.report(err)
	if ctx.Err() == nil {
		return out, err
	}
	out.Verdict = Interrupted
	if r.unproved != nil {
		out.Trouble = append(out.Trouble, r.unproved.Error())
	}
	return out, nil
}

func (r *run) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, r.stop()) }()
	urls, err := r.deploy(ctx)
	if err != nil {
		return err
	}
	if r.cfg.Speech {
		return r.speech(ctx, urls[0])
	}
	r.crew = newCrew(&r.cfg, urls, r.wrongs, r.recoveries)
	if len(r.cfg.Programs) > 0 {
		r.onlooker.byName = map[frameName]tally.Number{}
	}
	if err := r.onlooker.begin(ctx, r.crew, r.cfg.Watch); err != nil {
		return err
	}
	r.injector = &injector{
		fleet: r.fleet, crew: r.crew, onlooker: r.onlooker, recoveries: r.recoveries, disk: r.disk,
		counts: map[Kind]int{}, note: func(format string, args ...any) { r.note(format, args...) },
	}
	stopTicking := r.tick()
	defer stopTicking()
	clients, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	r.phase.Store("opening sessions")
	if err = r.crew.begin(clients, r.cfg.Ramp); err == nil {
		err = r.steady(ctx)
	}
	r.phase.Store("ending sessions")
	if ctx.Err() != nil { // what is under way gets a moment, not more
		late := time.AfterFunc(10*time.Second, func() { cancel(context.Cause(ctx)) })
		defer late.Stop()
	}
	r.crew.end()
	r.took = time.Since(r.open)
	r.phase.Store("reading the results")
	r.unproved = r.verify(context.WithoutCancel(ctx), ctx.Err() == nil)
	return errors.Join(err, r.unproved)
}

// deploy starts a deployment, or finds one, and returns where clients connect.
func (r *run) deploy(ctx context.Context) (urls []string, err error) {
	if len(r.cfg.URLs) > 0 {
		r.onlooker, err = onlook(r.cfg.NATS, r.cfg.NATSOptions)
		return r.cfg.URLs, err
	}
	r.note("starting %d bus nodes, %d dispatchers, %d workers, %d gateways; logs in %s",
		busNodes, r.cfg.Dispatchers, r.cfg.Workers, r.cfg.Gateways, r.cfg.Dir)
	if r.cfg.Mix[DiskFull] > 0 {
		f := &fleet{dir: r.cfg.Dir}
		if r.disk, err = mountDisk(f.data(diskNode)); err != nil {
			return nil, err
		}
	}
	if r.fleet, err = startFleet(ctx, &r.cfg, r.cfg.Dir); err != nil {
		return nil, err
	}
	if r.onlooker, err = onlook(r.fleet.busURLs(), nil); err != nil {
		return nil, err
	}
	ready, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	if err := r.onlooker.awaitBus(ready); err != nil {
		return nil, err
	}
	if r.idle, err = r.fleet.baseline(ctx); err != nil {
		return nil, err
	}
	return r.fleet.urls(), nil
}

// steady is the time between the opening of the sessions and their end.
func (r *run) steady(ctx context.Context) error {
	r.open = time.Now()
	r.phase.Store("running")
	before := [2]time.Duration{r.fleetCPU(), ownCPU()}
	r.injector.run(ctx, r.schedule)
	err := pause(ctx, time.Until(r.open.Add(r.cfg.Duration)))
	r.cpu = [2]time.Duration{r.fleetCPU() - before[0], ownCPU() - before[1]}
	return err
}

func (r *run) fleetCPU() time.Duration {
	if r.fleet == nil {
		return 0
	}
	return r.fleet.cpu()
}

// tick tells the progress each second until the returned function is called.
func (r *run) tick() (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(tickEvery)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				r.cfg.Progress(r.progress())
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

func (r *run) progress() Progress {
	phase, _ := r.phase.Load().(string)
	return Progress{
		Phase: phase, Elapsed: time.Since(r.began), Sessions: r.crew.present(),
		Frames: r.crew.frames.Load(), Finals: r.crew.finals.Load(),
		Done: int(r.injector.done.Load()), Faults: len(r.schedule), Present: r.injector.doing(), Wrongs: r.wrongs.total(),
	}
}

func (r *run) note(format string, args ...any) {
	r.cfg.Note(fmt.Sprintf("%6.1f s  ", time.Since(r.began).Seconds()) + fmt.Sprintf(format, args...))
}

// stop ends everything that the run has started.
func (r *run) stop() error {
	if r.onlooker != nil {
		r.onlooker.nc.Close()
	}
	if r.fleet != nil {
		r.fleet.stop()
	}
	return r.disk.unmount()
}

// Discard removes the data and the logs of a run.
func Discard(dir string) error { return os.RemoveAll(dir) }
