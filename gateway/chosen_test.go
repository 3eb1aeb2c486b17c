package gateway

import (
	"slices"
	"testing"
)

// No subprotocol that holds a secret is ever repeated to a client.
func TestChosen(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		offered []string
		key     string
		want    []string
	}{
		{nil, "", nil},
		{[]string{"jitsi", "other"}, "", []string{"jitsi"}},
		{[]string{"stenobus.resume.abc"}, "", nil},
		{[]string{"stenobus.key.abc", "stenobus.resume.abc", "stenobus"}, "", []string{"stenobus"}},
		{[]string{"stenobus.key.abc"}, "abc", nil},
		{[]string{"token", "abc"}, "abc", []string{"token"}},
		{[]string{"abc", "token"}, "abc", []string{"token"}},
	} {
		if got := chosen(tt.offered, tt.key); !slices.Equal(got, tt.want) {
			t.Errorf("%q with key %q: chose %q, want %q", tt.offered, tt.key, got, tt.want)
		}
	}
}
