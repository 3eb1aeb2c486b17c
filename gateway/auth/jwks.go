package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

const (
	maxSetBytes  = 1 << 20
	maxSetKeys   = 100
	maxRedirects = 3
)

// JWKSConfig says where a set of keys (RFC 7517) is fetched. URL is needed.
type JWKSConfig struct {
	URL     string // https, or http on loopback
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none

	Refresh  time.Duration // between two fetches; 0: 10 min
	Retry    time.Duration // after one that failed; 0: 5 s
	Unknown  time.Duration // least time between fetches because of a kid that is not known; 0: 10 s
	Timeout  time.Duration // of a fetch; 0: 5 s
	MaxStale time.Duration // how long keys count that could not be fetched again; 0: 24 h
}

func (c JWKSConfig) withDefaults() JWKSConfig {
	for _, d := range []struct {
		v        *time.Duration
		fallback time.Duration
	}{
		{&c.Refresh, 10 * time.Minute},
		{&c.Retry, 5 * time.Second},
		{&c.Unknown, 10 * time.Second},
		{&c.Timeout, 5 * time.Second},
		{&c.MaxStale, 24 * time.Hour},
	} {
		if *d.v == 0 {
			*d.v = d.fallback
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// JWKS has the keys of a URL. Nobody waits for it at the start: until the first fetch
// succeeds tokens get ErrNotReady.
type JWKS struct {
	cfg     JWKSConfig
	client  *http.Client
	set     atomic.Pointer[keySet] // nil: none was fetched
	away    atomic.Bool            // the last fetch failed
	ask     chan chan struct{}     // somebody met a kid that is not in the set
	fetches *prometheus.CounterVec
}

type keySet struct {
	keys []VerifyKey
	at   time.Time // when it was fetched
}

// NewJWKS checks the configuration. It does no I/O: Run fetches.
func NewJWKS(cfg JWKSConfig) (*JWKS, error) {
	cfg = cfg.withDefaults()
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, errors.New("URL of the keys of tokens: not a URL")
	}
	if err := fetchable(u); err != nil {
		return nil, fmt.Errorf("URL of the keys of tokens: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = 64 << 10
	j := &JWKS{
		cfg: cfg, ask: make(chan chan struct{}),
		client: &http.Client{Transport: transport, Timeout: cfg.Timeout, CheckRedirect: redirect},
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "stenobus", Subsystem: "gateway", Name: "jwks_fetches_total",
			Help: "Fetches of the keys that tokens are checked with, by result.",
		}, []string{"result"}),
	}
	if cfg.Metrics == nil {
		return j, nil
	}
	age := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "stenobus", Subsystem: "gateway", Name: "jwks_age_seconds",
		Help: "Time since the keys that tokens are checked with were fetched; -1: they never were.",
	}, j.age)
	return j, errors.Join(cfg.Metrics.Register(j.fetches), cfg.Metrics.Register(age))
}

func (j *JWKS) age() float64 {
	if set := j.set.Load(); set != nil {
		return time.Since(set.at).Seconds()
	}
	return -1
}

// fetchable keeps keys from being fetched where others could put their own.
func fetchable(u *url.URL) error {
	switch {
	case u.User != nil:
		return errors.New("it carries a user or a password, which would show in process lists")
	case u.Host == "":
		return errors.New("it has no host")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return errors.New("want https://, or http:// on loopback")
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func redirect(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	return fetchable(r.URL)
}

// Ready tells why no token can be checked, if so.
func (j *JWKS) Ready(context.Context) error {
	if _, err := j.known(""); err != nil {
		return fmt.Errorf("tokens can't be checked: %w", err)
	}
	return nil
}

// VerifyKeys implements KeySource. A kid that is not in the set may be new there: the set
// is fetched once more, unless that happened a moment ago. While it can't be fetched nobody
// can tell: ErrNotReady.
func (j *JWKS) VerifyKeys(ctx context.Context, kid string) ([]VerifyKey, error) {
	keys, err := j.known(kid)
	if err != nil || len(keys) > 0 {
		return keys, err
	}
	ctx, cancel := context.WithTimeout(ctx, j.cfg.Timeout)
	defer cancel()
	done := make(chan struct{})
	select {
	case j.ask <- done:
	case <-ctx.Done():
		return nil, ErrNotReady
	}
	select {
	case <-done:
	case <-ctx.Done():
		return nil, ErrNotReady
	}
	keys, err = j.known(kid)
	if err == nil && len(keys) == 0 && j.away.Load() {
		return nil, ErrNotReady
	}
	return keys, err
}

// known looks a kid up in what was fetched.
func (j *JWKS) known(kid string) ([]VerifyKey, error) {
	set := j.set.Load()
	if set == nil || time.Since(set.at) > j.cfg.MaxStale {
		return nil, ErrNotReady
	}
	if kid == "" {
		return set.keys, nil
	}
	var keys []VerifyKey
	for _, k := range set.keys {
		if k.ID == kid {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// Run fetches the keys, again and again, until ctx ends. All fetches happen here, one at
// a time. Call it once.
func (j *JWKS) Run(ctx context.Context) error {
	defer j.client.CloseIdleConnections()
	grump := rate.Sometimes{First: 1, Interval: 10 * time.Second}
	unknown := rate.NewLimiter(rate.Every(j.cfg.Unknown), 1)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var asked chan struct{}
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case asked = <-j.ask:
			if !unknown.Allow() {
				close(asked)
				continue
			}
		}
		timer.Reset(j.refresh(ctx, &grump))
		if asked != nil {
			close(asked)
		}
	}
}

// refresh fetches once and returns when to do it again. A fetch that failed changes nothing.
func (j *JWKS) refresh(ctx context.Context, grump *rate.Sometimes) time.Duration {
	keys, err := j.fetch(ctx)
	j.away.Store(err != nil)
	if err != nil {
		j.fetches.WithLabelValues("failed").Inc()
		if ctx.Err() == nil {
			grump.Do(func() { j.cfg.Log.Warn("keys of tokens can't be fetched", "error", err) })
		}
		return j.cfg.Retry
	}
	j.fetches.WithLabelValues("ok").Inc()
	if j.set.Swap(&keySet{keys, time.Now()}) == nil {
		j.cfg.Log.Info("keys of tokens are here", "keys", len(keys))
	}
	return j.cfg.Refresh
}

func (j *JWKS) fetch(ctx context.Context) ([]VerifyKey, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, j.cfg.URL, nil)
	if err != nil {
		return nil, errors.New("the request can't be made")
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := j.client.Do(r)
	var failed *url.Error
	switch {
	case errors.As(err, &failed): // its text has the URL, whose query may hold a secret
		return nil, failed.Err
	case err != nil:
		return nil, err
	}
	defer resp.Body.Close() // only read from
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answers with HTTP %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxSetBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return parseSet(body)
}
