package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
)

const (
	leftWait    = 30 * time.Second // what a session leaves is gone by then
	leftPoll    = 500 * time.Millisecond
	pageWait    = 3 * time.Second
	goroutines  = "go_goroutines"
	idleSlack   = 12 // goroutines that a role may have more than when it was new: connections, timers
	mostSubs    = 100_000
	pageMaximum = 64 << 20
)

// leftovers waits until nothing of the run's sessions is left, and names what is.
func (r *run) leftovers(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, leftWait)
	defer cancel()
	for {
		left, err := r.look(ctx)
		if err == nil && len(left) == 0 && len(r.strays) == 0 {
			return nil, nil
		}
		if pause(ctx, leftPoll) != nil {
			if len(left) > 0 || len(r.strays) > 0 {
				err = nil
			}
			return left, err
		}
	}
}

// look lists what is there now: keys, subscriptions, goroutines.
func (r *run) look(ctx context.Context) (left []string, err error) {
	keys, err := r.keys(ctx)
	if err != nil {
		return nil, err
	}
	left = append(left, keys...)
	if r.fleet == nil {
		return left, nil
	}
	for _, p := range r.fleet.bus {
		subs, err := r.subscriptions(ctx, p)
		if err != nil {
			return left, err
		}
		left = append(left, subs...)
	}
	for _, p := range slices.Concat(r.fleet.gateways, r.fleet.workers, r.fleet.dispatchers) {
		n, err := countGoroutines(ctx, p.page)
		if err != nil {
			return left, fmt.Errorf("metrics of %s: %w", p.name, err)
		}
		if idle := r.idle[p.name]; n > idle+idleSlack {
			left = append(left, fmt.Sprintf("%d goroutines of %s, %d when it was new", n, p.name, idle))
		}
	}
	return left, nil
}

// keys are the records of the run's sessions.
func (r *run) keys(ctx context.Context) (left []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, pageWait)
	defer cancel()
	kv, err := r.onlooker.js.KeyValue(ctx, subjects.SessionsBucket)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", subjects.SessionsBucket, err)
	}
	r.strays = map[string]bool{}
	list, err := kv.ListKeys(ctx)
	if errors.Is(err, jetstream.ErrNoKeysFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("keys of %s: %w", subjects.SessionsBucket, err)
	}
	for key := range list.Keys() {
		if !strings.HasPrefix(key, r.crew.prefix+"-") {
			continue
		}
		there, err := r.recorded(ctx, key)
		switch {
		case err != nil:
			return nil, err
		case there:
			left = append(left, "the key "+key+" in "+subjects.SessionsBucket)
		default:
			r.strays[key] = true
		}
	}
	return left, nil
}

// recorded tells whether the leader of the bucket's stream has a key: it is who decides
// every write. A list may come from a replica that lost deletions when its server was
// killed, and that its leader does not correct until the key is written again.
func (r *run) recorded(ctx context.Context, key string) (bool, error) {
	ask, err := json.Marshal(map[string]string{"last_by_subj": "$KV." + subjects.SessionsBucket + "." + key})
	if err != nil {
		return false, err
	}
	m, err := r.onlooker.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET.KV_"+subjects.SessionsBucket, ask)
	if err != nil {
		return false, fmt.Errorf("key %s: %w", key, err)
	}
	var got struct {
		Error *struct {
			Code        int    `json:"code"`
			Description string `json:"description"`
		} `json:"error"`
		Message struct {
			Header []byte `json:"hdrs"`
		} `json:"message"`
	}
	switch err := json.Unmarshal(m.Data, &got); {
	case err != nil:
		return false, fmt.Errorf("key %s: %w", key, err)
	case got.Error != nil && got.Error.Code == http.StatusNotFound:
		return false, nil
	case got.Error != nil:
		return false, fmt.Errorf("key %s: %s", key, got.Error.Description)
	}
	h := string(got.Message.Header)
	return !strings.Contains(h, "KV-Operation:") && !strings.Contains(h, jetstream.MarkerReasonHeader+":"), nil
}

// subscriptions are those of clients of one node that name a session of the run.
func (r *run) subscriptions(ctx context.Context, p *process) (left []string, err error) {
	b, err := page(ctx, "http://"+p.page+"/subsz?subs=1&limit="+strconv.Itoa(mostSubs))
	if err != nil {
		return nil, fmt.Errorf("subscriptions of %s: %w", p.name, err)
	}
	var list struct {
		Subs []struct {
			Subject string `json:"subject"`
		} `json:"subscriptions_list"`
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("subscriptions of %s: %w", p.name, err)
	}
	for _, s := range list.Subs {
		if strings.Contains(s.Subject, "."+r.crew.prefix+"-") {
			left = append(left, "a subscription to "+s.Subject+" on "+p.name)
		}
	}
	return left, nil
}

// baseline counts the goroutines of roles that have had no session yet.
func (f *fleet) baseline(ctx context.Context) (map[string]int, error) {
	idle := map[string]int{}
	for _, p := range slices.Concat(f.gateways, f.workers, f.dispatchers) {
		n, err := countGoroutines(ctx, p.page)
		if err != nil {
			return nil, fmt.Errorf("metrics of %s: %w", p.name, err)
		}
		idle[p.name] = n
	}
	return idle, nil
}

func countGoroutines(ctx context.Context, at string) (int, error) {
	b, err := page(ctx, "http://"+at+"/metrics")
	if err != nil {
		return 0, err
	}
	return parseGauge(string(b), goroutines)
}

// parseGauge reads one figure without labels from a page of metrics.
func parseGauge(text, name string) (int, error) {
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		if value, ok := strings.CutPrefix(s.Text(), name+" "); ok {
			f, err := strconv.ParseFloat(value, 64)
			return int(f), err
		}
	}
	return 0, fmt.Errorf("no figure %s", name)
}

// page reads a page on a connection of its own, which leaves nothing behind either.
func page(ctx context.Context, at string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, pageWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", at, resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, pageMaximum))
}
