package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/cmd/stenobus/internal/child"
	"stenobus/dispatcher"
	"stenobus/subjects"
	"stenobus/subjects/ask"
)

// recordResult is what was measured of the bucket of sessions' records.
type recordResult struct {
	writesPerS float64
	write      map[string]float64 // CPU of a write in µs, by role
	renewal    map[string]float64 // the same of a renewal by a dispatcher
}

// records measures the bucket of records alone. As many writers as Load has sessions renew a
// few records each, as fast as that is acknowledged: first by themselves, reading and writing
// as a dispatcher does, then by asking a dispatcher, as workers do. That one would refuse
// what does not look like a record.
func records(ctx context.Context, cfg Config, replicas int) (r recordResult, err error) {
	cfg.Progress("records", "starting")
	err = cfg.Deployment.withBuses(ctx, replicas, func(s *site, urls []string) error {
		link, err := dialBus(ctx, urls, subjects.BusConfig{Replicas: replicas})
		if err != nil {
			return err
		}
		defer link.nc.Close()
		b := &recordBench{busLink: link, cfg: &cfg, site: s}
		if b.bucket, err = b.js.Stream(ctx, "KV_"+subjects.SessionsBucket); err != nil {
			return err
		}
		r, err = b.measure(ctx, urls)
		return err
	})
	return r, err
}

type recordBench struct {
	*busLink
	cfg    *Config
	site   *site
	bucket jetstream.Stream
	count  atomic.Uint64
}

// record is one session's.
type record struct {
	b    *recordBench
	id   subjects.SessionID
	life uint64
}

// recordsEach is how many records have one renewed at a time: a server that was asked for
// what was written this very moment may not have it yet, and nobody asks so soon.
const recordsEach = 10

const readAgain = 2 * time.Millisecond // a dispatcher's first pause too

func (b *recordBench) measure(ctx context.Context, urls []string) (r recordResult, err error) {
	all := make([][]*record, b.cfg.Load.Sessions)
	for i := range all {
		for j := range recordsEach {
			all[i] = append(all[i], &record{b: b, id: subjects.SessionID(fmt.Sprintf("bench-%d-%d", i, j))})
		}
	}
	if err := together(all, func(few []*record) error { return eachOf(few, func(rec *record) error { return rec.write(ctx) }) }); err != nil {
		return r, err
	}
	if r.writesPerS, r.write, err = b.renewals(ctx, "records", b.cfg.Duration, all, (*record).write); err != nil {
		return r, err
	}
	if _, err := b.site.start(ctx, &b.cfg.Deployment, roleDispatcher, "dispatcher", "--nats", urls[0]); err != nil {
		return r, err
	}
	_, r.renewal, err = b.renewals(ctx, "records, by a dispatcher", b.cfg.Duration/2, all, (*record).ask)
	return r, err
}

// renewals lets every record be renewed again and again, and tells how many were in a
// second, and what one cost.
func (b *recordBench) renewals(ctx context.Context, name string, d time.Duration, all [][]*record, renew func(*record, context.Context) error) (perS float64, cpu map[string]float64, err error) {
	begin, err := b.site.usage()
	if err != nil {
		return 0, nil, err
	}
	before, from := b.count.Load(), time.Now()
	to := from.Add(d)
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		_ = b.cfg.showUntil(ctx, name, to, func() string { return fmt.Sprintf("%d records written", b.count.Load()-before) })
	}()
	err = together(all, func(few []*record) error {
		for time.Now().Before(to) {
			if err := eachOf(few, func(rec *record) error { return renew(rec, ctx) }); err != nil {
				return err
			}
		}
		return nil
	})
	took := time.Since(from)
	<-shown
	if err != nil {
		return 0, nil, err
	}
	n := float64(b.count.Load() - before)
	end, err := b.site.usage()
	return round(ratio(n, took.Seconds())), cpuEach(begin, end, n), err
}

// eachOf does the same for one after the other.
func eachOf(few []*record, do func(*record) error) error {
	for _, rec := range few {
		if err := do(rec); err != nil {
			return err
		}
	}
	return nil
}

// cpuEach is the CPU of one of n things in µs, by role.
func cpuEach(begin, end map[string]child.Usage, n float64) map[string]float64 {
	each := map[string]float64{}
	for role, u := range end {
		each[role] = round(ratio(float64((u.CPU - begin[role].CPU).Microseconds()), n))
	}
	return each
}

// write replaces the record as a dispatcher does: what it read from a server that lags it
// reads again.
func (r *record) write(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	for {
		err := r.try(ctx)
		if !lostRace(err) {
			return err
		}
		if pauseUntil(ctx, time.Now().Add(readAgain)) != nil {
			return err
		}
	}
}

// lostRace tells whether what was to be replaced is not there any more.
func lostRace(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

func (r *record) try(ctx context.Context) error {
	var was uint64
	if r.life != 0 {
		m, err := r.b.bucket.GetLastMsgForSubject(ctx, subjects.SessionRecord(r.id))
		if err != nil {
			return fmt.Errorf("read record: %w", err)
		}
		was = m.Sequence
	}
	ack, err := r.b.js.PublishMsg(ctx, r.message(),
		jetstream.WithMsgTTL(dispatcher.DefaultRecordExpiry), jetstream.WithExpectLastSequencePerSubject(was))
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	if r.life == 0 {
		r.life = ack.Sequence
	}
	r.b.count.Add(1)
	return nil
}

// ask has a dispatcher do it.
func (r *record) ask(ctx context.Context) error {
	rec := r.content()
	m, err := ask.Dispatchers(ctx, r.b.nc, subjects.ClaimRenew, subjects.Encode(subjects.KeepRequest{
		V: subjects.Version, Session: r.id, Worker: rec.Worker, Stamp: rec.Stamp, Options: rec.Options,
	}))
	if err != nil {
		return fmt.Errorf("renew record: %w", err)
	}
	reply, err := subjects.DecodeDoc[subjects.KeepReply]("reply", m.Data)
	if err == nil && reply.Error != nil {
		err = reply.Error
	}
	if err != nil {
		return fmt.Errorf("renew record: %w", err)
	}
	r.b.count.Add(1)
	return nil
}

func (r *record) message() *nats.Msg {
	return &nats.Msg{Subject: subjects.SessionRecord(r.id), Data: subjects.Encode(r.content())}
}

// content is a record of usual size.
func (r *record) content() subjects.Record {
	const since = "2026-01-01T12:00:00.123456789Z"
	return subjects.Record{
		V: subjects.Version, Stamp: subjects.Stamp{Life: r.life, Epoch: 1, Attach: 1}, Session: r.id,
		Nonce: "AAAAAAAAAAAAAAAAAAAAAA", Gateway: "gateway-01234567", Probe: "$SRV.PING.stenobus-gateway.AAAAAAAAAAAAAAAAAAAAAA",
		Worker: "worker-01234567", Reason: subjects.ReasonOpen, Why: "spread: load 37/100 against 41/100 of worker-76543210; 100 known, 3 full",
		Since: since, Joined: since, Options: subjects.Options{Language: "en", GraceMS: 15_000},
	}
}
