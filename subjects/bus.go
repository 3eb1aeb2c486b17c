package subjects

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrIncompatible is wrapped where a server has a stream or bucket of ours that
// differs from what the protocol needs.
var ErrIncompatible = errors.New("incompatible stream or bucket")

// How long results are kept, and the most bytes of them, unless a bus is told otherwise.
const (
	DefaultResultsAge   = 24 * time.Hour
	DefaultResultsBytes = 1 << 30
)

// BusConfig sizes the streams and buckets. The zero value works.
type BusConfig struct {
	Cluster         string        // of NATS servers that keeps the streams; empty: the one to which the process that makes them is connected, or another that can
	Replicas        int           // of each stream; 0: 1. Three survive the loss of a server
	Split           Split         // over how many streams the results log is split; 0: 1. What a bus has, it keeps
	ResultsAge      time.Duration // how long results are kept; 0: 24 h
	ResultsBytes    int64         // most bytes of results, each stream's share being the same; 0: 1 GiB. A full store refuses, it never discards
	ResultsEach     int64         // most results of one session; 0: 100,000
	WorkerExpiry    time.Duration // a worker that has not reported for so long is gone; 0: 10 s
	TombstoneExpiry time.Duration // how long the deletion of a key is remembered; 0: 5 s
	AudioAge        time.Duration // how long the audio log keeps what was spoken; 0: 5 min
	AudioBytes      int64         // most bytes of the audio log; 0: 1 GiB. A full log refuses, and nobody waits for it
}

func (c BusConfig) withDefaults() BusConfig {
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.ResultsAge == 0 {
		c.ResultsAge = DefaultResultsAge
	}
	if c.ResultsBytes == 0 {
		c.ResultsBytes = DefaultResultsBytes
	}
	if c.ResultsEach == 0 {
		c.ResultsEach = 100_000
	}
	if c.WorkerExpiry == 0 {
		c.WorkerExpiry = 10 * time.Second
	}
	if c.TombstoneExpiry == 0 {
		c.TombstoneExpiry = 5 * time.Second
	}
	if c.AudioAge == 0 {
		c.AudioAge = 5 * time.Minute
	}
	if c.AudioBytes == 0 {
		c.AudioBytes = 1 << 30
	}
	return c
}

// placement is where streams are made that are not there yet.
func (c BusConfig) placement() *jetstream.Placement {
	if c.Cluster == "" {
		return nil
	}
	return &jetstream.Placement{Cluster: c.Cluster}
}

// Bus is a server made ready: handles to what Ensure created or checked.
type Bus struct {
	Results  *Results           // fenced results of every session
	Sessions jetstream.KeyValue // one Record a live session
	Workers  jetstream.KeyValue // one WorkerReport a live worker
}

// Ensure creates the streams and buckets that are missing and checks that those
// which exist are compatible: sizes and ages may differ, what the protocol rests on
// may not, nor over how many streams the results log is split. Any number of processes may call it at once.
func Ensure(ctx context.Context, js jetstream.JetStream, cfg BusConfig) (*Bus, error) {
	cfg = cfg.withDefaults()
	results, err := ensureResults(ctx, js, cfg)
	if err != nil {
		return nil, err
	}
	sessions, err := ensureBucket(ctx, js, sessionsConfig(cfg))
	if err != nil {
		return nil, err
	}
	workers, err := ensureBucket(ctx, js, workersConfig(cfg))
	if err != nil {
		return nil, err
	}
	return &Bus{Results: results, Sessions: sessions, Workers: workers}, nil
}

// Await calls Ensure until the server has JetStream ready, or ctx ends. What is
// incompatible stays so and is returned at once. Between tries, one second apart,
// busy hears the error, once for the same one.
func Await(ctx context.Context, js jetstream.JetStream, cfg BusConfig, busy func(error)) (*Bus, error) {
	last := ""
	for {
		try, cancel := context.WithTimeout(ctx, 10*time.Second)
		bus, err := Ensure(try, js, cfg)
		cancel()
		if err == nil || errors.Is(err, ErrIncompatible) {
			return bus, err
		}
		if ctx.Err() != nil {
			return nil, err
		}
		if err.Error() != last {
			last = err.Error()
			busy(err)
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(time.Second):
		}
	}
}

func audioConfig(cfg BusConfig) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        AudioStream,
		Description: "Stenobus: what gateways sent lately, for when a gateway and its window are gone",
		Subjects:    []string{AllFrames},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Replicas:    cfg.Replicas,
		Placement:   cfg.placement(),
		MaxAge:      cfg.AudioAge,
		MaxBytes:    cfg.AudioBytes,
		Discard:     jetstream.DiscardNew, // or one session's flood would eat the others' last words
		NoAck:       true,                 // nobody waits for this log
	}
}

func sessionsConfig(cfg BusConfig) jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{
		Bucket:         SessionsBucket,
		Description:    "Stenobus: who owns each live session",
		History:        1,
		Storage:        jetstream.FileStorage,
		Replicas:       cfg.Replicas,
		Placement:      cfg.placement(),
		LimitMarkerTTL: cfg.TombstoneExpiry,
	}
}

func workersConfig(cfg BusConfig) jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{
		Bucket:         WorkersBucket,
		Description:    "Stenobus: the live workers and their load",
		History:        1,
		Storage:        jetstream.MemoryStorage,
		Replicas:       cfg.Replicas,
		Placement:      cfg.placement(),
		TTL:            cfg.WorkerExpiry,
		LimitMarkerTTL: cfg.TombstoneExpiry,
	}
}

// EnsureAudio creates the audio log if it is missing and checks one that exists, as
// Ensure does for the rest. Gateways that keep a log call it; without them there is none.
func EnsureAudio(ctx context.Context, js jetstream.JetStream, cfg BusConfig) error {
	_, err := ensureStream(ctx, js, audioConfig(cfg.withDefaults()))
	return err
}

func ensureStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := js.CreateStream(ctx, want)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		s, err = js.Stream(ctx, want.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", want.Name, err)
	}
	return s, compatible(want, s.CachedInfo().Config)
}

func compatible(want, have jetstream.StreamConfig) error {
	bad := func(field string, w, h any) error {
		return fmt.Errorf("%w: %s has %s %v, the protocol needs %v", ErrIncompatible, want.Name, field, h, w)
	}
	switch {
	case !slices.Equal(want.Subjects, have.Subjects):
		return bad("subjects", want.Subjects, have.Subjects)
	case want.RePublish != nil && (have.RePublish == nil || have.RePublish.Source != want.RePublish.Source ||
		have.RePublish.Destination != want.RePublish.Destination || have.RePublish.HeadersOnly):
		return bad("republish", *want.RePublish, have.RePublish)
	case have.Retention != want.Retention:
		return bad("retention", want.Retention, have.Retention)
	case have.Discard != want.Discard:
		return bad("discard", want.Discard, have.Discard)
	case have.AllowDirect && !want.AllowDirect && want.RePublish != nil:
		return bad("allow_direct", want.AllowDirect, have.AllowDirect)
	case have.Sealed:
		return bad("sealed", false, true)
	}
	return nil
}

func ensureBucket(ctx context.Context, js jetstream.JetStream, want jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	kv, err := js.CreateKeyValue(ctx, want)
	if errors.Is(err, jetstream.ErrBucketExists) {
		kv, err = js.KeyValue(ctx, want.Bucket)
	}
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", want.Bucket, err)
	}
	status, err := kv.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", want.Bucket, err)
	}
	if status.History() != int64(want.History) {
		return nil, fmt.Errorf("%w: %s has history %d, the protocol needs %d", ErrIncompatible, want.Bucket, status.History(), want.History)
	}
	if status.LimitMarkerTTL() <= 0 {
		return nil, fmt.Errorf("%w: %s has no limit marker TTL, the protocol needs one so that keys can expire", ErrIncompatible, want.Bucket)
	}
	if (status.TTL() > 0) != (want.TTL > 0) {
		return nil, fmt.Errorf("%w: %s has expiry %v, the protocol needs %v", ErrIncompatible, want.Bucket, status.TTL(), want.TTL)
	}
	return kv, nil
}
