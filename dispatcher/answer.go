package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"stenobus/subjects"
)

const maxRequest = 64 << 10 // bytes of a request: it ends up in a record

// desk hands requests to goroutines of its own, a bounded number, because a service
// has one goroutine for all requests of a kind.
type desk struct {
	open atomic.Int64

	mu     sync.Mutex // guards closed, and that nothing joins wg after it
	closed bool
	wg     sync.WaitGroup
}

// take calls serve in a goroutine, or at once with the reason why there is none.
func (k *desk) take(places chan struct{}, serve func(*subjects.Error)) {
	if refused := k.start(places, serve); refused != nil {
		serve(refused)
	}
}

func (k *desk) start(places chan struct{}, serve func(*subjects.Error)) *subjects.Error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return &subjects.Error{Code: subjects.CodeInternal, Message: "this dispatcher is stopping", RetryAfterMS: 50}
	}
	select {
	case places <- struct{}{}:
	default:
		return &subjects.Error{
			Code: subjects.CodeInternal, RetryAfterMS: 100,
			Message: fmt.Sprintf("this dispatcher is busy with %d requests", cap(places)),
		}
	}
	k.open.Add(1)
	k.wg.Go(func() {
		defer func() { k.open.Add(-1); <-places }()
		serve(nil)
	})
	return nil
}

// close refuses what comes from now on, and waits for the others.
func (k *desk) close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.wg.Wait()
}

func claimRefused(e *subjects.Error) any {
	return subjects.ClaimReply{V: subjects.Version, Error: e}
}

func keepRefused(e *subjects.Error) any {
	return subjects.KeepReply{V: subjects.Version, Error: e}
}

// answerClaim serves one claim.
func (d *Dispatcher) answerClaim(ctx context.Context, data []byte) any {
	started := time.Now()
	kind := "attach"
	req, err := readRequest[subjects.ClaimRequest]("claim", data)
	if err == nil {
		err = checkClaim(req, d.results.Split())
	}
	if err == nil {
		err = checkLate(req, started)
	}
	var h held
	if err == nil {
		if req.Moves() {
			kind = "move"
		}
		h, err = d.grant(ctx, req)
	}
	refused := d.refused("a claim could not be served", err)
	d.metrics.claims.WithLabelValues(kind, result(refused)).Inc()
	d.metrics.duration.Observe(time.Since(started).Seconds())
	d.logClaim(kind, req, h, refused)
	if refused != nil {
		return claimRefused(refused)
	}
	return subjects.ClaimReply{V: subjects.Version, Stamp: h.Stamp, Worker: h.Worker}
}

// logClaim writes one line a claim. A session that waits for room asks several times a
// second and has one line while it waits; what is not a claim has one in a while.
func (d *Dispatcher) logClaim(kind string, req subjects.ClaimRequest, h held, refused *subjects.Error) {
	log := d.log.With("kind", kind, "session", string(req.Session))
	switch result(refused) {
	case "ok":
		d.waiting.granted(req.Session)
		log.Info("claim granted", "life", h.Life, "epoch", h.Epoch, "attach", h.Attach,
			"worker", string(h.Worker), "reason", h.Reason, "gateway", h.Gateway)
	case subjects.CodeNoWorker:
		if d.waiting.refused(req.Session, time.Now()) {
			log.Info("claim waits", "life", req.Life, "epoch", req.Epoch, "reason", req.Reason, "why", refused.Message)
		}
	case subjects.CodeBadRequest, subjects.CodeVersion:
		d.fault("a claim is not readable", refused)
	case subjects.CodeInternal, subjects.CodeEnding, subjects.CodeLate: // said already, or asked again at once
	default:
		log.Info("claim refused", "life", req.Life, "epoch", req.Epoch, "reason", req.Reason,
			"code", refused.Code, "why", refused.Message)
	}
}

// keeper serves renewals or ends.
func (d *Dispatcher) keeper(kind string, do func(context.Context, subjects.KeepRequest) error) func(context.Context, []byte) any {
	return func(ctx context.Context, data []byte) any {
		req, err := readRequest[subjects.KeepRequest](kind, data)
		if err == nil {
			err = checkKeep(kind, req)
		}
		if err == nil {
			err = do(ctx, req)
		}
		refused := d.refused("a record could not be kept", err)
		d.metrics.keeps.WithLabelValues(kind, result(refused)).Inc()
		return keepRefused(refused)
	}
}

// refused turns an error into what the asker is told.
func (d *Dispatcher) refused(doing string, err error) *subjects.Error {
	if err == nil {
		return nil
	}
	var refusal *subjects.Error
	if !errors.As(err, &refusal) {
		refusal = &subjects.Error{Code: subjects.CodeInternal, Message: err.Error(), RetryAfterMS: 250}
	}
	if refusal.Code == subjects.CodeInternal {
		d.fault(doing, err)
	}
	return refusal
}

func readRequest[T any](what string, data []byte) (T, error) {
	if len(data) > maxRequest {
		var none T
		return none, subjects.Errorf(subjects.CodeBadRequest, "%s has %d bytes, at most %d are allowed", what, len(data), maxRequest)
	}
	req, err := subjects.DecodeDoc[T](what, data)
	if errors.Is(err, subjects.ErrVersion) {
		return req, subjects.Errorf(subjects.CodeVersion, "field v: %v", err)
	}
	if err != nil {
		return req, subjects.Errorf(subjects.CodeBadRequest, "%v", err)
	}
	return req, nil
}

func checkClaim(req subjects.ClaimRequest, split subjects.Split) error {
	if _, err := subjects.NewSessionID(string(req.Session)); err != nil {
		return subjects.Errorf(subjects.CodeBadRequest, "claim: field session: %v", err)
	}
	for _, f := range []struct{ name, v string }{{"nonce", req.Nonce}, {"gateway", req.Gateway}, {"reason", req.Reason}} {
		if f.v == "" || len(f.v) > subjects.MaxID {
			return subjects.Errorf(subjects.CodeBadRequest, "claim: field %s has %d bytes, allowed are 1 to %d", f.name, len(f.v), subjects.MaxID)
		}
	}
	if req.Split.Count() != split.Count() {
		return subjects.Errorf(subjects.CodeBadRequest, "claim: field split is %d, allowed is %d: --bus-results-streams must be the same for all roles", req.Split.Count(), split.Count())
	}
	if len(req.Cell) > subjects.MaxID {
		return subjects.Errorf(subjects.CodeBadRequest, "claim: field cell has %d bytes, allowed are 0 to %d", len(req.Cell), subjects.MaxID)
	}
	if req.Moves() && (req.Life == 0 || req.Attach == 0) {
		return subjects.Errorf(subjects.CodeBadRequest, "claim: fields life and attach are %d and %d, with an epoch both must be above 0", req.Life, req.Attach)
	}
	return nil
}

// lateAfter is well above the time for which gateways ask before they begin anew.
const lateAfter = 3 * time.Second

// checkLate refuses a claim for which nobody may be waiting any more: a dispatcher that
// hung finds it when it wakes, and would begin a life without a client, or take one from
// its client. Clocks differ, so whoever does wait is told to insist.
func checkLate(req subjects.ClaimRequest, now time.Time) error {
	if req.Sent == "" || req.Insist {
		return nil
	}
	sent, err := time.Parse(time.RFC3339Nano, req.Sent)
	if err != nil {
		return subjects.Errorf(subjects.CodeBadRequest, "claim: field sent is %.40q, want a time as in RFC 3339", req.Sent)
	}
	if age := now.Sub(sent); age.Abs() > lateAfter {
		return subjects.Errorf(subjects.CodeLate, "the claim was sent %v ago by its gateway's clock", age.Round(time.Millisecond))
	}
	return nil
}

func checkKeep(kind string, req subjects.KeepRequest) error {
	if _, err := subjects.NewSessionID(string(req.Session)); err != nil {
		return subjects.Errorf(subjects.CodeBadRequest, "%s: field session: %v", kind, err)
	}
	if req.Nonce != "" && kind == "end" {
		return nil
	}
	if _, err := subjects.NewWorkerID(string(req.Worker)); err != nil {
		return subjects.Errorf(subjects.CodeBadRequest, "%s: field worker: %v", kind, err)
	}
	if req.Life == 0 || req.Epoch == 0 || req.Attach == 0 {
		return subjects.Errorf(subjects.CodeBadRequest, "%s: fields life, epoch and attach must all be above 0", kind)
	}
	return nil
}
