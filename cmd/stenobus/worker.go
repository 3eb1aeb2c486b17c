package main

import (
	"fmt"
	"net"
	"runtime"
	"time"

	"stenobus/cmd/stenobus/internal/ops"
	"stenobus/subjects"
	"stenobus/worker"
)

type workerCmd struct {
	engineFlags
	metricsFlags
	workerFlags
	Bus busFlags `embed:"" prefix:"bus-"`
	natsFlags
	cellFlag
}

// metricsFlags say where a role without clients shows its pages.
type metricsFlags struct {
	MetricsListen string `help:"Where to serve /healthz, /readyz, /status and /metrics; none by default." placeholder:"HOST:PORT"`
}

// listen returns nil where no pages are wanted.
func (f *metricsFlags) listen() (net.Listener, error) {
	if f.MetricsListen == "" {
		return nil, nil
	}
	return listen("--metrics-listen", f.MetricsListen)
}

// workerFlags are worker.Config.
type workerFlags struct {
	ID         string            `help:"Name on the bus; random by default." group:"Worker"`
	Label      map[string]string `help:"What sessions may ask for, beside engine and language." placeholder:"KEY=VALUE;..." group:"Worker"`
	Slots      int               `help:"Most sessions at once; by default 2 a core with an engine that works on this machine, else 100." placeholder:"N" group:"Worker"`
	IdleCommit time.Duration     `help:"A source that pauses for so long has its utterance finalised." default:"2s" group:"Worker"`
	TurnLimit  time.Duration     `help:"Most audio of a source without a final." default:"10s" group:"Worker"`
	DrainWait  time.Duration     `name:"drain-timeout" help:"How long a stopping worker waits for others to take its sessions." default:"10s" group:"Worker"`
	QueueBytes int               `help:"Most bytes of a session waiting for its engine." default:"16777216" group:"Worker"`
}

// busFlags size the streams and buckets that are not there yet.
type busFlags struct {
	Cluster      string        `help:"Cluster of NATS servers that keeps them; by default the one in which they are asked for first, if it can." placeholder:"NAME" group:"Streams and buckets, where they are not there yet"`
	Replicas     int           `help:"Copies of each stream; three survive the loss of a server." default:"1" group:"Streams and buckets, where they are not there yet"`
	Split        int           `name:"results-streams" help:"Over how many streams the results log is split; the same for all roles." default:"1" group:"Streams and buckets, where they are not there yet"`
	ResultsAge   time.Duration `help:"How long results are kept." default:"24h" group:"Streams and buckets, where they are not there yet"`
	ResultsBytes int64         `help:"Most bytes of results, of all streams together. A result takes some 500, and once it is full finals wait." default:"1073741824" group:"Streams and buckets, where they are not there yet"`
	WorkerExpiry time.Duration `help:"A worker that has not reported for so long is gone." default:"10s" group:"Streams and buckets, where they are not there yet"`
	Tombstones   time.Duration `help:"How long the deletion of a key is remembered." default:"5s" group:"Streams and buckets, where they are not there yet"`
	ResultsEach  int64         `help:"Most results of one session." default:"100000" group:"Streams and buckets, where they are not there yet"`
	AudioAge     time.Duration `help:"How long the audio log keeps what was sent." default:"5m" group:"Streams and buckets, where they are not there yet"`
	AudioBytes   int64         `help:"Most bytes of the audio log; a full one refuses, and nobody waits for it." default:"1073741824" group:"Streams and buckets, where they are not there yet"`
}

// Validate is called by the parser.
func (f *busFlags) Validate() error {
	return firstOutOfRange([]bounded{
		{"--bus-results-streams", f.Split >= 1 && f.Split <= subjects.MaxSplit, fmt.Sprintf("1 to %d", subjects.MaxSplit)},
	})
}

func (f *busFlags) config() subjects.BusConfig {
	return subjects.BusConfig{
		Cluster:      f.Cluster,
		Replicas:     f.Replicas,
		Split:        subjects.Split(f.Split),
		ResultsAge:   f.ResultsAge,
		ResultsBytes: f.ResultsBytes,
		ResultsEach:  f.ResultsEach,
		AudioAge:     f.AudioAge,
		AudioBytes:   f.AudioBytes,

		WorkerExpiry:    f.WorkerExpiry,
		TombstoneExpiry: f.Tombstones,
	}
}

// slots leaves the choice to the worker where its engines need little of this machine.
func (f *workerFlags) slots(e *engineFlags) int {
	if f.Slots == 0 && e.local() {
		return slotsPerCore * runtime.NumCPU()
	}
	return f.Slots
}

func (f *workerFlags) config(w wiring, e *engineFlags) worker.Config {
	return worker.Config{
		ID:      f.ID,
		Cell:    w.cell,
		Labels:  f.Label,
		Slots:   f.slots(e),
		Version: version,
		Log:     w.log.With("role", "worker"),
		Metrics: w.metrics,
		Bus:     w.bus,

		IdleCommit: f.IdleCommit,
		TurnLimit:  f.TurnLimit,
		DrainWait:  f.DrainWait,
		QueueBytes: f.QueueBytes,
	}
}

func (*workerCmd) Help() string {
	return `A worker that stops hands its sessions over to the others.

Examples:

    stenobus worker
    stenobus worker --slots 4 --label room=quiet --nats nats://nats-1:4222
    stenobus worker --engine tally --metrics-listen 127.0.0.1:9102
`
}

func (c *workerCmd) Run(p *program) error {
	engines, err := c.engines()
	if err != nil {
		return err
	}
	defer engines.close()
	l, err := c.listen()
	if err != nil {
		return err
	}
	if l != nil {
		defer l.Close()
	}
	conn, err := c.dial(p, "worker")
	if err != nil {
		return err
	}
	reg := ops.NewRegistry()
	r, err := newWorker(conn, c.config(wiring{p.log, reg, c.Bus.config(), c.Cell}, &c.engineFlags), engines)
	if err != nil {
		conn.close()
		return err
	}
	return runRole(p, r, plainDoor(l), r.pages(reg, nil))
}

func newWorker(conn *busConn, cfg worker.Config, engines engineSet) (*role, error) {
	w, err := worker.New(conn.Conn, cfg, engines...)
	if err != nil {
		return nil, usageError("%w", err)
	}
	return &role{
		name: "worker", conn: conn, serve: w.Run, healthy: w.Ready,
		stats: func() any { return w.Stats() },
		crowd: func() (open, streaming int) { s := w.Stats(); return s.Sessions, s.Streaming },
	}, nil
}
