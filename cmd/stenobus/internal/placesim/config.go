package placesim

import "time"

// Config of a run. All of it must be set.
type Config struct {
	Workers     []int         // sizes of the fleets that are simulated one after the other
	Sessions    int           // placed on the largest fleet; on others in proportion
	Slots       int           // of a worker, on average; single ones have half or twice as many
	Load        float64       // share of all slots that is in use in the steady state
	Length      time.Duration // of a session, on average
	Skew        float64       // sigma of the log-normal lengths; 0: all have the same
	Rare        float64       // share of workers, and of sessions, of a language of their own
	Dispatchers int
	Strategy    string
	ReportEvery time.Duration // each worker
	LagMin      time.Duration // until a dispatcher hears a report
	LagMax      time.Duration
	Crashes     float64 // share of the fleet that crashes a minute
	Drains      float64 // share of the fleet that is restarted in order a minute
	Burst       float64 // factor by which arrivals rise, late in the run
	BurstFor    time.Duration
	Seed        uint64

	Progress func(Progress) // called now and then; nil: nobody looks
}

// Progress is where a run stands.
type Progress struct {
	Workers  int
	Now, End time.Duration // of simulated time
	Placed   int
}

// What the real parts do. The figures are those of worker/, gateway/ and dispatcher/.
const (
	keyExpiry  = 10 * time.Second       // of a worker's report
	sweepEvery = 500 * time.Millisecond // how often a dispatcher looks at ages
	assignWait = 500 * time.Millisecond
	claimWait  = 1800 * time.Millisecond
	giveUp     = 60 * time.Second // how long a gateway asks for a worker
	minPause   = 100 * time.Millisecond
)

// What is made up.
const (
	ramp        = 20 * time.Second // in which the fleet fills up to its load
	settle      = 10 * time.Second // after it, before balance is looked at
	burstAt     = 0.75             // of the run
	sampleEvery = time.Second
)
