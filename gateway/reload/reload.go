// Package reload keeps what was read from files, such as keys and certificates, as new
// as the files are, without a restart.
package reload

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

const (
	pollEvery = time.Second // files on a mount of Kubernetes or NFS tell nobody that they changed, so they are looked at
	logEvery  = 10 * time.Second
)

// Config of a value. What, Read and Paths are needed.
type Config[T any] struct {
	What    string            // in logs, errors and metrics, for example auth-keys
	Paths   []string          // any change of one of them counts
	Read    func() (T, error) // its error names the file, and nothing of what is secret in it
	Log     *slog.Logger      // nil: no log
	Metrics *Metrics          // nil: none
	Every   time.Duration     // between two looks at the files; 0: 1 s
}

// Value is what the files say, or said while they could last be read. Any goroutine may
// call Load.
type Value[T any] struct {
	cfg   Config[T]
	now   atomic.Pointer[T]
	grump rate.Sometimes

	seen []os.FileInfo // of what is in force; written by Open, then by Run only
}

// Open reads the files for the first time.
func Open[T any](cfg Config[T]) (*Value[T], error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Every == 0 {
		cfg.Every = pollEvery
	}
	v := &Value[T]{cfg: cfg, grump: rate.Sometimes{First: 1, Interval: logEvery}}
	if err := v.read(); err != nil {
		return nil, err
	}
	cfg.Metrics.outcome(cfg.What, nil)
	return v, nil
}

// Load is the value in force.
func (v *Value[T]) Load() T { return *v.now.Load() }

// Run looks at the files until ctx ends. Files that are gone or wrong leave the value as
// it is: one slip in an editor must not lock every client out. Call it once.
func (v *Value[T]) Run(ctx context.Context) error {
	tick := time.NewTicker(v.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			v.look()
		case <-ctx.Done():
			return nil
		}
	}
}

func (v *Value[T]) look() {
	if !v.changed() {
		return
	}
	err := v.read()
	v.cfg.Metrics.outcome(v.cfg.What, err)
	if err != nil {
		v.grump.Do(func() {
			v.cfg.Log.Warn("files changed and can't be used: what they said before stays in force", "what", v.cfg.What, "error", err)
		})
		return
	}
	v.cfg.Log.Info("files changed and were read again", "what", v.cfg.What)
}

// changed is true also while a file can't be found: what is wrong is tried again at each look.
func (v *Value[T]) changed() bool {
	for i, path := range v.cfg.Paths {
		info, err := os.Stat(path)
		if err != nil || !same(info, v.seen[i]) {
			return true
		}
	}
	return false
}

// same also compares identity: a file that replaced another may be as old and as long.
func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// read takes note of the files before it reads them: what is written meanwhile is a
// change at the next look.
func (v *Value[T]) read() error {
	var seen []os.FileInfo
	for _, path := range v.cfg.Paths {
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("%s: %w", v.cfg.What, err)
		}
		seen = append(seen, info)
	}
	value, err := v.cfg.Read()
	if err != nil {
		return fmt.Errorf("%s: %w", v.cfg.What, err)
	}
	v.now.Store(&value)
	v.seen = seen
	return nil
}

// ReadFile reads a file of at most so many bytes.
func ReadFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read from
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return b, nil
}

// Metrics of all values of a process, by what they are.
type Metrics struct {
	stale   *prometheus.GaugeVec
	reloads *prometheus.CounterVec
}

// NewMetrics registers them. A nil registerer gives none.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	if reg == nil {
		return nil, nil
	}
	m := &Metrics{
		stale: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "stenobus", Subsystem: "gateway", Name: "files_stale",
			Help: "1 while a file that changed can't be used and what it said before is in force.",
		}, []string{"what"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "stenobus", Subsystem: "gateway", Name: "files_read_total",
			Help: "Times that files were read, at the start and because they had changed, by result.",
		}, []string{"what", "result"}),
	}
	for _, c := range []prometheus.Collector{m.stale, m.reloads} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) outcome(what string, err error) {
	if m == nil {
		return
	}
	if err != nil {
		m.stale.WithLabelValues(what).Set(1)
		m.reloads.WithLabelValues(what, "failed").Inc()
		return
	}
	m.stale.WithLabelValues(what).Set(0)
	m.reloads.WithLabelValues(what, "ok").Inc()
}
