package gateway

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"strings"

	"stenobus/gateway/dialect"
)

//go:embed page.html
var pageSource string

// page is what people see at / in a browser: the end points, and a button to speak. It
// is one document that loads nothing else.
type page struct {
	html   string
	policy string // Content-Security-Policy
}

// newPage renders the page once: it is the same for everybody.
func newPage(version string, dialects []dialect.Dialect) (page, error) {
	type end struct{ Path, About string }
	data := struct {
		Version string
		Ends    []end
	}{Version: version}
	for _, d := range dialects {
		data.Ends = append(data.Ends, end{d.Path(), d.About()})
	}
	t, err := template.New("page").Parse(pageSource)
	if err != nil {
		return page{}, fmt.Errorf("page: %w", err)
	}
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		return page{}, fmt.Errorf("page: %w", err)
	}
	p := page{html: b.String()}
	// The document's own script and style are allowed by their hashes. The audio thread's
	// code can't be within a document, so the script makes it a blob.
	p.policy = strings.Join([]string{
		"default-src 'none'",
		"script-src " + hash(p.html, "script") + " blob:",
		"style-src " + hash(p.html, "style"),
		"img-src data:",
		"connect-src 'self'",
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors 'none'",
	}, "; ")
	return p, nil
}

// hash is the source expression for the content of a document's one element of a name.
func hash(html, element string) string {
	_, rest, _ := strings.Cut(html, "<"+element+">")
	content, _, _ := strings.Cut(rest, "</"+element+">")
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func (p page) serve(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", p.policy)
	h.Set("Permissions-Policy", "microphone=(self)")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	_, _ = fmt.Fprint(w, p.html) // the client may be gone already
}

// wantsPage tells a browser from a program, which takes anything or asks for text.
func wantsPage(r *http.Request) bool {
	for _, line := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(line, ",") {
			kind, params, err := mime.ParseMediaType(part)
			if err == nil && kind == "text/html" && params["q"] != "0" {
				return true
			}
		}
	}
	return false
}
