package worker

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"stenobus/subjects"
	"stenobus/subjects/ask"
)

const (
	maxEnded      = 1024            // lives remembered after their end, so that a late assign is told
	reportTimeout = 2 * time.Second // of one report
	endRecordWait = 5 * time.Second // over all tries to delete a record
)

// answer serves one request. It only ever takes a lock for a moment: the service has
// one goroutine for all of them.
func (w *Worker) answer(work context.Context, r micro.Request) {
	req, err := subjects.DecodeDoc[subjects.WorkerRequest]("worker request", r.Data())
	var refused *subjects.Error
	switch {
	case errors.Is(err, subjects.ErrVersion):
		refused = subjects.Errorf(subjects.CodeVersion, "%v", err)
	case err != nil:
		refused = subjects.Errorf(subjects.CodeBadRequest, "%v", err)
	case req.Op == subjects.OpAssign:
		refused = w.assign(work, req)
	case req.Op == subjects.OpRelease:
		w.release(req)
	case req.Op == subjects.OpDrain:
		w.log.Info("asked to drain")
		w.drain()
	default:
		refused = subjects.Errorf(subjects.CodeBadRequest, "field op is %q, allowed are assign, release, drain", req.Op)
	}
	w.mu.Lock()
	reply := subjects.WorkerReply{V: subjects.Version, Slots: w.cfg.Slots, Sessions: len(w.sessions), Error: refused}
	w.mu.Unlock()
	if r.Reply() == "" {
		return
	}
	if err := r.Respond(subjects.Encode(reply)); err != nil {
		w.grumble(w.log, "reply not sent", err)
	}
}

// assign takes a session on, or notes another attach to one that is here. The slot is
// reserved now, not when the load is next reported.
func (w *Worker) assign(work context.Context, req subjects.WorkerRequest) *subjects.Error {
	id, err := subjects.NewSessionID(string(req.Session))
	if err != nil {
		return subjects.Errorf(subjects.CodeBadRequest, "field session: %v", err)
	}
	if req.Life == 0 || req.Epoch == 0 || req.Attach == 0 {
		return subjects.Errorf(subjects.CodeBadRequest, "fields life, epoch and attach must all be above 0")
	}
	if told, ours := req.Place(), w.results.Place(id); told != ours {
		return subjects.Errorf(subjects.CodeBadRequest, "field log: results would go to %s in %s, this worker knows %s in %s: give all roles the same --bus-results-streams",
			told.Subject, told.Stream, ours.Subject, ours.Stream)
	}
	engine := w.engineFor(req.Options)
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.sessions[id]; s != nil {
		return s.reassign(req)
	}
	switch {
	case w.ended[id] == req.Life:
		return subjects.Errorf(subjects.CodeEnded, "life %d of the session has ended", req.Life)
	case w.draining:
		return subjects.Errorf(subjects.CodeDraining, "worker %s is draining", w.id)
	case len(w.sessions) >= w.cfg.Slots:
		return subjects.Errorf(subjects.CodeFull, "worker %s has %d of %d slots in use", w.id, len(w.sessions), w.cfg.Slots)
	case engine == nil:
		return subjects.Errorf(subjects.CodeUnsupported, "worker %s has no engine %q", w.id, req.Options.Engine)
	}
	s := w.newSession(id, engine, req)
	w.sessions[id] = s
	w.loadChanged()
	w.wg.Go(func() { w.hold(work, s) })
	return nil
}

// reassign answers an assign for a session that this worker has.
func (s *session) reassign(req subjects.WorkerRequest) *subjects.Error {
	switch {
	case req.Life < s.own.Life || req.Life == s.own.Life && req.Epoch < s.own.Epoch:
		return subjects.Errorf(subjects.CodeSuperseded, "the session is at life %d epoch %d", s.own.Life, s.own.Epoch)
	case s.closing.Load():
		// Its last words are on their way to the store: the new life begins after them.
		return &subjects.Error{Code: subjects.CodeEnding, Message: "the session is ending here", RetryAfterMS: 50}
	case req.Life > s.own.Life, req.Epoch > s.own.Epoch:
		s.tell(control{op: subjects.OpRelease}) // the record knows it no more
		return &subjects.Error{Code: subjects.CodeEnding, Message: "an earlier ownership of the session ends here", RetryAfterMS: 50}
	case req.Attach < s.attach.Load():
		return subjects.Errorf(subjects.CodeSuperseded, "the session is at attach %d", s.attach.Load())
	}
	s.tell(control{op: subjects.OpAssign, attach: req.Attach, probe: req.Probe, access: req.Options.Access})
	return nil
}

// tell hands a request to the session's goroutine. A session that is busy for so long
// that its small queue is full is asked again by whoever wants something of it.
func (s *session) tell(c control) {
	select {
	case s.control <- &c:
	default:
	}
}

func (w *Worker) release(req subjects.WorkerRequest) {
	w.mu.Lock()
	s := w.sessions[req.Session]
	w.mu.Unlock()
	if s != nil && s.own.Life == req.Life && s.own.Epoch <= req.Epoch {
		s.tell(control{op: subjects.OpRelease})
	}
}

func (w *Worker) engineFor(o subjects.Options) Engine {
	for _, e := range w.engines {
		d := e.Describe()
		if (o.Engine == "" || d.Name == o.Engine) && speaks(d, o.Language) {
			return e
		}
	}
	return nil
}

// speaks compares primary language subtags: en-GB is served by an engine for en-US.
func speaks(d Description, language string) bool {
	if language == "" || len(d.Languages) == 0 {
		return true
	}
	primary := func(tag string) string {
		p, _, _ := strings.Cut(strings.ToLower(tag), "-")
		return p
	}
	for _, l := range d.Languages {
		if primary(l) == primary(language) {
			return true
		}
	}
	return false
}

func (w *Worker) newSession(id subjects.SessionID, engine Engine, req subjects.WorkerRequest) *session {
	log := w.log.With("session", string(id), "life", req.Life, "epoch", req.Epoch)
	s := &session{
		w: w, id: id, own: subjects.Stamp{Life: req.Life, Epoch: req.Epoch},
		opts: req.Options, reason: req.Reason, why: req.Why, engine: engine, log: log,
		control: make(chan *control, 8),
		roomy:   make(chan struct{}, 1),
		failed:  make(chan error, 1),
		fatal:   make(chan error, 1),
		changed: make(chan struct{}, 1),
		sources: map[uint32]*source{},
		known:   map[uint32]subjects.Source{},
		probes:  map[uint64]string{req.Attach: req.Probe},
		absent:  make(chan uint64, 1),
		grace:   time.Duration(req.Options.GraceMS) * time.Millisecond,
		after:   afterlife{fresh: req.Fresh && (req.Epoch > 1 || req.Attach > 1)}, // before these there was nothing
	}
	s.attach.Store(req.Attach)
	s.rlog = &resultLog{
		js: w.js, results: w.results, id: id, stamp: s.stamped,
		queue: make(chan entry, logQueue),
		waits: func(err error) { w.grumble(log, "results wait for the store", err) },
		stored: func(e entry, seq uint64) {
			s.logSeq.Store(seq)
			w.metrics.stored(e)
		},
	}
	return s
}

// hold keeps a session's slot for as long as the session runs.
func (w *Worker) hold(work context.Context, s *session) {
	s.log.Info("session taken", "reason", s.reason)
	w.letGo(work, s, s.run(work))
}

// letGo frees the slot of a session that is done here; err is why.
func (w *Worker) letGo(work context.Context, s *session, err error) {
	w.mu.Lock()
	delete(w.sessions, s.id)
	if err == nil || errors.Is(err, errEnded) {
		w.remember(s.id, s.own.Life)
	}
	w.mu.Unlock()
	w.loadChanged()
	switch {
	case err == nil:
		s.log.Info("session ended", "reason", s.ending.Reason, "finals", s.rlog.progress.Finals)
	case errors.Is(err, errEnded):
		s.publish(subjects.ChannelRelease, subjects.KindRelease, subjects.Release{Worker: string(w.id), Reason: subjects.MoveEnded})
		w.endRecord(work, s.id, s.stamped())
	case errors.Is(err, errSuperseded), errors.Is(err, errReleased):
		s.log.Info("session is another worker's now", "why", err)
	default:
		s.log.Warn("session given up", "why", err)
	}
}

// remember keeps a bounded memory of ended lives. Its caller holds mu.
func (w *Worker) remember(id subjects.SessionID, life uint64) {
	if len(w.ended) >= maxEnded {
		for old := range w.ended { // any one: a forgotten life is found in the log instead
			delete(w.ended, old)
			break
		}
	}
	w.ended[id] = life
}

func (w *Worker) renewEvery() time.Duration { return RecordRenewal }

// renewRecord keeps the session's record from expiring; a record that belongs to
// somebody else by now ends the session.
func (w *Worker) renewRecord(ctx context.Context, s *session) {
	req := subjects.KeepRequest{Session: s.id, Stamp: s.stamped(), Options: s.opts}
	w.wg.Go(func() {
		if e := w.keep(ctx, subjects.ClaimRenew, req); e != nil && e.Code == subjects.CodeSuperseded {
			s.tell(control{op: subjects.OpRelease})
		}
	})
}

// endRecord deletes the session's record, with a few tries. If no dispatcher has time
// for it the record expires.
func (w *Worker) endRecord(ctx context.Context, id subjects.SessionID, stamp subjects.Stamp) {
	try := func() (struct{}, error) {
		e := w.keep(ctx, subjects.ClaimEnd, subjects.KeepRequest{Session: id, Stamp: stamp})
		switch {
		case e == nil:
			return struct{}{}, nil
		case e.Code == subjects.CodeInternal:
			return struct{}{}, e
		}
		return struct{}{}, backoff.Permanent(e)
	}
	_, err := backoff.Retry(ctx, try, backoff.WithBackOff(backoff.NewExponentialBackOff()), backoff.WithMaxElapsedTime(endRecordWait))
	var e *subjects.Error
	if err != nil && !(errors.As(err, &e) && e.Code == subjects.CodeSuperseded) {
		w.grumble(w.log.With("session", string(id)), "record is left to expire", err)
	}
}

func (w *Worker) keep(ctx context.Context, subject string, req subjects.KeepRequest) *subjects.Error {
	req.V, req.Worker = subjects.Version, w.id
	m, err := ask.Dispatchers(ctx, w.nc, subject, subjects.Encode(req))
	if err != nil {
		return subjects.Errorf(subjects.CodeInternal, "%s: %v", subject, err)
	}
	reply, err := subjects.DecodeDoc[subjects.KeepReply]("reply", m.Data)
	if err != nil {
		return subjects.Errorf(subjects.CodeInternal, "%s: %v", subject, err)
	}
	return reply.Error
}

// report tells dispatchers of this worker: at once when its load changes, and often
// enough that its key does not expire.
func (w *Worker) report(ctx context.Context, kv jetstream.KeyValue) {
	const settle = 100 * time.Millisecond // changes in a burst make one report
	tick := time.NewTicker(ReportEvery)
	defer tick.Stop()
	for {
		if err := w.reportOnce(ctx, kv); err != nil && ctx.Err() == nil {
			w.grumble(w.log, "report not stored", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-w.changed:
			select {
			case <-ctx.Done():
				return
			case <-time.After(settle):
			}
		}
	}
}

func (w *Worker) reportOnce(ctx context.Context, kv jetstream.KeyValue) error {
	st := w.Stats()
	r := subjects.WorkerReport{
		V: subjects.Version, Worker: w.id, Labels: w.cfg.Labels, Cell: st.Cell, Slots: st.Slots,
		Sessions: st.Sessions, Draining: st.Draining, Version: w.cfg.Version,
		Since: w.since.UTC().Format(time.RFC3339Nano), Follows: w.results.Split() != 0,
	}
	for _, e := range w.engines {
		d := e.Describe()
		r.Engines = append(r.Engines, subjects.EngineReport{Name: d.Name, Languages: d.Languages})
	}
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	_, err = kv.Put(ctx, w.id.Token(), value)
	return err
}

// unreport takes the worker out of the fleet at once instead of by expiry.
func (w *Worker) unreport(kv jetstream.KeyValue) {
	ctx, cancel := context.WithTimeout(context.Background(), reportTimeout)
	defer cancel()
	if err := kv.Purge(ctx, w.id.Token(), jetstream.PurgeTTL(time.Second)); err != nil {
		w.log.Warn("report is left to expire", "error", err)
	}
}
