package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	maxTokenBytes = 8 << 10
	maxLeeway     = 5 * time.Minute
	maxKeyTries   = 16 // keys that one token without a kid is tried with
)

// ErrNotReady is of tokens whose keys are not here: nobody can tell whether they are good.
var ErrNotReady = errors.New("the keys that tokens are checked with are not here yet")

// VerifyKey is a key that checks signatures, and the algorithms that it may be used
// with. These come from the key, never from the token: a public key is no HMAC secret.
type VerifyKey struct {
	ID   string // kid; empty: it has none
	Key  any    // []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
	Algs []string
}

// KeySource has the keys of tokens. Any goroutine may call it.
type KeySource interface {
	// VerifyKeys returns the keys for a kid, or all where a token has none. An error
	// means that they are not here.
	VerifyKeys(ctx context.Context, kid string) ([]VerifyKey, error)
}

// TokensConfig says what tokens have to be. Keys is needed.
type TokensConfig struct {
	Keys      KeySource
	Audience  []string         // one of them has to be in aud; empty: aud is not looked at
	Issuer    string           // has to be iss; empty: iss is not looked at
	NameClaim string           // who the client is; empty: sub
	Claim     string           // object with sessions, providers and max_sessions; empty: stenobus
	Leeway    time.Duration    // by which clocks may differ; 0: none
	Now       func() time.Time // nil: time.Now
}

// Tokens knows clients by signed tokens (JWT, RFC 7519). They have to expire; a session
// that was opened with one may outlive it, as a download outlives its cookie: cutting
// people off in mid sentence would protect nothing that they have not heard already.
type Tokens struct {
	cfg    TokensConfig
	parser *jwt.Parser
}

// NewTokens checks the configuration.
func NewTokens(cfg TokensConfig) (*Tokens, error) {
	if cfg.Leeway < 0 || cfg.Leeway > maxLeeway {
		return nil, fmt.Errorf("leeway for clocks is %v, allowed are 0s to %v", cfg.Leeway, maxLeeway)
	}
	if cfg.NameClaim == "" {
		cfg.NameClaim = "sub"
	}
	if cfg.Claim == "" {
		cfg.Claim = "stenobus"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	opts := []jwt.ParserOption{
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithStrictDecoding(),
		jwt.WithLeeway(cfg.Leeway), jwt.WithTimeFunc(cfg.Now), jwt.WithValidMethods(algorithms()),
	}
	if len(cfg.Audience) > 0 {
		opts = append(opts, jwt.WithAudience(cfg.Audience...))
	}
	if cfg.Issuer != "" {
		opts = append(opts, jwt.WithIssuer(cfg.Issuer))
	}
	return &Tokens{cfg, jwt.NewParser(opts...)}, nil
}

// Authenticate implements Authenticator.
func (t *Tokens) Authenticate(ctx context.Context, secret string) (Principal, error) {
	switch {
	case strings.Count(secret, ".") != 2:
		return Principal{}, errOther
	case len(secret) > maxTokenBytes:
		return Principal{}, known(fmt.Errorf("the token has %d bytes, allowed are %d", len(secret), maxTokenBytes))
	}
	claims := jwt.MapClaims{}
	if _, err := t.parser.ParseWithClaims(secret, claims, func(token *jwt.Token) (any, error) {
		return t.keys(ctx, token)
	}); err != nil {
		return Principal{}, t.reason(err)
	}
	p, err := t.principal(claims)
	if err != nil {
		return Principal{}, known(fmt.Errorf("the token is refused: %w", err))
	}
	return p, nil
}

// Reasons that the library has no word for.
var (
	errCritical  = errors.New("its header field crit names an extension, and none is known here")
	errKid       = errors.New("its header field kid is no text")
	errNoKey     = errors.New("its kid names no key that is known here")
	errAlgorithm = errors.New("its alg does not belong to the key")
)

// keys chooses those that may check a token's signature.
func (t *Tokens) keys(ctx context.Context, token *jwt.Token) (any, error) {
	if _, critical := token.Header["crit"]; critical { // RFC 7515, 4.1.11
		return nil, errCritical
	}
	kid := ""
	if v, ok := token.Header["kid"]; ok {
		if kid, ok = v.(string); !ok {
			return nil, errKid
		}
	}
	all, err := t.cfg.Keys.VerifyKeys(ctx, kid)
	switch {
	case err != nil:
		return nil, err
	case len(all) == 0:
		return nil, errNoKey
	}
	var set jwt.VerificationKeySet
	for _, k := range all {
		if slices.Contains(k.Algs, token.Method.Alg()) && len(set.Keys) < maxKeyTries {
			set.Keys = append(set.Keys, k.Key)
		}
	}
	if len(set.Keys) == 0 {
		return nil, errAlgorithm
	}
	return set, nil
}

// reason says in our words why a token is refused: the library's may hold parts of it.
func (t *Tokens) reason(err error) error {
	if errors.Is(err, ErrNotReady) {
		return ErrNotReady
	}
	for _, r := range []struct {
		is   error
		text string
	}{
		{errCritical, errCritical.Error()},
		{errKid, errKid.Error()},
		{errNoKey, errNoKey.Error()},
		{errAlgorithm, errAlgorithm.Error()},
		{jwt.ErrTokenMalformed, "it is malformed"},
		{jwt.ErrTokenUnverifiable, "its alg is not known here"},
		{jwt.ErrTokenSignatureInvalid, "its signature is wrong, or its alg is not allowed"},
		{jwt.ErrTokenRequiredClaimMissing, "it lacks a claim that is needed here: " + t.needed()},
		{jwt.ErrTokenExpired, "it has expired"},
		{jwt.ErrTokenNotValidYet, "it is not valid yet (nbf)"},
		{jwt.ErrTokenUsedBeforeIssued, "it was issued in the future (iat)"},
		{jwt.ErrTokenInvalidAudience, "it is for another audience (aud)"},
		{jwt.ErrTokenInvalidIssuer, "it is of another issuer (iss)"},
		{jwt.ErrInvalidType, "a claim is of the wrong type: exp, nbf and iat are numbers, iss is a text, aud a text or a list"},
	} {
		if errors.Is(err, r.is) {
			return known(fmt.Errorf("the token is refused: %s", r.text))
		}
	}
	return known(errors.New("the token is refused"))
}

func (t *Tokens) needed() string {
	names := []string{"exp", t.cfg.NameClaim}
	if len(t.cfg.Audience) > 0 {
		names = append(names, "aud")
	}
	if t.cfg.Issuer != "" {
		names = append(names, "iss")
	}
	return strings.Join(names, ", ")
}
