package auth

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// principal reads who a checked token is of, and what it allows. What is wrong there
// refuses the token: a limit that its issuer misspelt must not become no limit.
func (t *Tokens) principal(claims jwt.MapClaims) (Principal, error) {
	var p Principal
	name, ok := claims[t.cfg.NameClaim].(string)
	if !ok || !printable(name, MaxName) {
		return p, fmt.Errorf("claim %s: want a text of 1 to %d bytes without control characters", t.cfg.NameClaim, MaxName)
	}
	p.Name = name
	own, ok := claims[t.cfg.Claim]
	if !ok {
		return p, nil
	}
	object, err := json.Marshal(own)
	if err != nil {
		return p, fmt.Errorf("claim %s: not JSON", t.cfg.Claim)
	}
	if _, err := fieldsOf(object, func(field string, value json.RawMessage) error {
		if ok, err := p.limits(field, value); ok {
			return err
		}
		return errors.New("a field is unknown, allowed are sessions, providers, max_sessions")
	}); err != nil {
		return p, fmt.Errorf("claim %s: %w", t.cfg.Claim, err)
	}
	return p, nil
}
