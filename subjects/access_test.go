package subjects_test

import (
	"testing"

	"stenobus/subjects"
)

// Who may have a live session: the table of rights.
func TestAccess(t *testing.T) {
	t.Parallel()
	const right, wrong = "right", "wrong"
	token := func(s string) string { return subjects.HashToken(s) }
	of := func(principal, tok string) subjects.Access {
		return subjects.Access{Principal: principal, Token: token(tok)}
	}
	open, owned := of("", right), of("ann", right)
	for _, tt := range []struct {
		name                 string
		life, shows          subjects.Access
		shown, authenticated bool
		want                 bool
	}{
		{"bare id, nobody knows anybody", open, of("", "new"), false, false, true},
		{"bare id, session of a principal", owned, of("", "new"), false, false, false},
		{"bare id, gateway that authenticates", open, of("bob", "new"), false, true, false},
		{"same principal", owned, of("ann", "new"), false, true, true},
		{"another principal", owned, of("bob", "new"), false, true, false},
		{"right token, no principal", owned, of("", right), true, false, true},
		{"right token, another principal", owned, of("bob", right), true, true, true},
		{"wrong token, same principal", owned, of("ann", wrong), true, true, false},
		{"wrong token, bare session", open, of("", wrong), true, false, false},
		{"session without a token", subjects.Access{}, of("", "new"), false, false, true},
		{"session without a token, one shown", subjects.Access{}, of("", wrong), true, false, false},
	} {
		if got := tt.life.Permits(tt.shows, tt.shown, tt.authenticated); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if a, b := subjects.NewToken(), subjects.NewToken(); a == b || len(a) < 26 {
		t.Errorf("tokens %q and %q", a, b)
	}
}
