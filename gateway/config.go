package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"stenobus/gateway/auth"
	"stenobus/subjects"
)

// DefaultMaxSessions is the most sessions of a gateway, unless it is told otherwise.
const DefaultMaxSessions = 10_000

// Config of a gateway. The zero value works.
type Config struct {
	Name    string                // names this gateway in records and logs; empty: random
	Log     *slog.Logger          // nil: no log
	Metrics prometheus.Registerer // nil: no metrics
	Bus     subjects.BusConfig    // for streams and buckets that are not there yet
	Version string                // of the program, told to clients
	Cell    string                // in which this gateway lives, so that sessions are placed near it; empty: the cluster of its NATS server
	Engines []string              // engines that clients may choose by name; others' names choose none in particular; nil: pocketsphinx and tally

	AudioLog bool // keep what is sent in a stream too, for when gateway and worker die together

	Origins []string // hosts of web pages that may connect, with * as a wildcard; programs send no origin. nil: the gateway's own host

	// Auth tells who a client is from its API key or token. Then the id alone resumes no
	// session. nil: clients need none.
	Auth auth.Authenticator

	// PrincipalHeader names the header in which a proxy that authenticates clients tells
	// who a client is. Then the id alone resumes no session. Empty: no authentication.
	PrincipalHeader string

	Window         time.Duration // most audio that a session keeps for sending again; 0: 60 s
	WindowBytes    int           // the same in bytes, 192 more for each frame; 0: 24 MiB
	Share          time.Duration // how long a frame waits for others to share its message; 0: not at all, frames already waiting share
	Grace          time.Duration // how long a session outlives its client's broken connection; 0: 15 s
	ClaimWait      time.Duration // how long a session waits for a worker with room; 0: 60 s
	IdleWait       time.Duration // how long a client may send no message at all; 0: 10 min
	EndWait        time.Duration // how long an ending session waits for its last finals; 0: 60 s
	DrainWait      time.Duration // how long a stopping gateway waits for its sessions; 0: 15 s
	MaxMessage     int64         // largest message of a client in bytes; 0: 1 MiB
	MaxSources     int           // most sources of one session; 0: 256
	MaxLifeSources int           // most sources of a session in its whole life, as every result tells of all of them; 0: 1,024
	MaxSessions    int           // most sessions of this gateway; 0: 10,000
	MaxPrincipal   int           // most sessions of one principal on this gateway, unless its key or token says otherwise; 0: 1,000
	MaxSpeed       float64       // how many times faster than real time audio may come in the long run; 0: 20
	MaxLength      time.Duration // how long a session may go on at one gateway; 0: 24 h
	ConnectRate    float64       // connections a second that one address may ask for, twice as many at once; 0: 1,000. One bridge has a connection for each conference
	SendBuffer     int           // most bytes waiting for a slow client; 0: 1 MiB. Interims are shed first
}

func (c Config) withDefaults() Config {
	c.Window = or(c.Window, 60*time.Second)
	c.WindowBytes = or(c.WindowBytes, 24<<20)
	c.Grace = or(c.Grace, 15*time.Second)
	c.ClaimWait = or(c.ClaimWait, 60*time.Second)
	c.IdleWait = or(c.IdleWait, 10*time.Minute)
	c.EndWait = or(c.EndWait, 60*time.Second)
	c.DrainWait = or(c.DrainWait, 15*time.Second)
	c.MaxMessage = or(c.MaxMessage, 1<<20)
	c.MaxSources = or(c.MaxSources, 256)
	c.MaxLifeSources = or(c.MaxLifeSources, 1024)
	c.MaxSessions = or(c.MaxSessions, DefaultMaxSessions)
	c.MaxPrincipal = or(c.MaxPrincipal, 1000)
	c.MaxSpeed = or(c.MaxSpeed, 20)
	c.MaxLength = or(c.MaxLength, 24*time.Hour)
	c.ConnectRate = or(c.ConnectRate, 1000)
	c.SendBuffer = or(c.SendBuffer, 1<<20)
	if c.Engines == nil {
		c.Engines = []string{"pocketsphinx", "tally"}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	if c.Auth != nil && c.PrincipalHeader != "" {
		errs = append(errs, errors.New("gateway has both Auth and PrincipalHeader: clients are authenticated here or by a proxy, not both"))
	}
	for _, d := range []struct {
		name string
		v    time.Duration
		min  time.Duration
		max  time.Duration
	}{
		{"Window", c.Window, time.Second, 10 * time.Minute},
		{"Share", c.Share, 0, time.Second},
		{"Grace", c.Grace, 100 * time.Millisecond, time.Hour},
		{"ClaimWait", c.ClaimWait, 100 * time.Millisecond, time.Hour},
		{"IdleWait", c.IdleWait, 100 * time.Millisecond, 24 * time.Hour},
		{"MaxLength", c.MaxLength, time.Second, 30 * 24 * time.Hour},
		{"EndWait", c.EndWait, 100 * time.Millisecond, time.Hour},
		{"DrainWait", c.DrainWait, 100 * time.Millisecond, time.Hour},
	} {
		if d.v < d.min || d.v > d.max {
			errs = append(errs, fmt.Errorf("gateway %s is %v, allowed are %v to %v", d.name, d.v, d.min, d.max))
		}
	}
	for _, n := range []struct {
		name string
		v    int64
		min  int64
	}{
		{"WindowBytes", int64(c.WindowBytes), 64 << 10},
		{"MaxMessage", c.MaxMessage, 1 << 10},
		{"MaxSources", int64(c.MaxSources), 1},
		{"MaxLifeSources", int64(c.MaxLifeSources), 1},
		{"MaxSessions", int64(c.MaxSessions), 1},
		{"MaxPrincipal", int64(c.MaxPrincipal), 1},
		{"SendBuffer", int64(c.SendBuffer), 4 << 10},
	} {
		if n.v < n.min {
			errs = append(errs, fmt.Errorf("gateway %s is %d, allowed are %d and more", n.name, n.v, n.min))
		}
	}
	if c.MaxSpeed < 1 {
		errs = append(errs, fmt.Errorf("gateway MaxSpeed is %g, allowed are 1 and more", c.MaxSpeed))
	}
	if c.ConnectRate < 0.01 {
		errs = append(errs, fmt.Errorf("gateway ConnectRate is %g, allowed are 0.01 and more", c.ConnectRate))
	}
	return errors.Join(errs...)
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}
