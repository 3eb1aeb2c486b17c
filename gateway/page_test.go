package gateway

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func TestPage(t *testing.T) {
	t.Parallel()
	all := dialects(Config{}.withDefaults())
	p, err := newPage("1.2.3 <b>", all)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if !strings.Contains(p.html, "</span>"+d.Path()+"</dt>") {
			t.Errorf("end point %s is not on the page", d.Path())
		}
	}
	if !strings.Contains(p.html, "version 1.2.3 &lt;b&gt;.") {
		t.Error("the version is not escaped")
	}
	// What the page loads is itself, and nothing of its script is lost in the rendering.
	if m := regexp.MustCompile(`(?:src|href)="[^"]*"`).FindAllString(p.html, -1); strings.Join(m, " ") != `href="data:," href="healthz" href="readyz" href="status" href="metrics"` {
		t.Errorf("the page refers to %q", m)
	}
	for _, element := range []string{"script", "style"} {
		if n := strings.Count(p.html, "<"+element); n != 1 || strings.Count(pageSource, "<"+element+">") != 1 {
			t.Errorf("%d elements %s, of which the policy knows one", n, element)
		}
		if !strings.Contains(p.policy, element+"-src "+hash(p.html, element)) {
			t.Errorf("policy %s lacks the hash of the %s", p.policy, element)
		}
	}
	if strings.Contains(p.html, " style=") || strings.Contains(p.html, " onclick=") {
		t.Error("the page has what its policy forbids")
	}
}

func TestWantsPage(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]bool{
		"":           false,
		"*/*":        false,
		"text/plain": false,
		"text/*":     false,
		"text/html":  true,
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": true,
		"application/xml, text/html;q=0.5":                                true,
		"text/html;q=0, */*":                                              false,
		"text/html;;;":                                                    false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept", accept)
		if got := wantsPage(r); got != want {
			t.Errorf("%q: %v, want %v", accept, got, want)
		}
	}
}
