package gateway

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
)

var update = flag.Bool("update", false, "write the table of codes into CLIENTS.md")

// The page for clients has the table of codes as the code has it.
func TestPageHasTheCodes(t *testing.T) {
	t.Parallel()
	const page, begin, end = "CLIENTS.md", "<!-- codes: go test ./gateway -run Codes -update -->\n", "<!-- /codes -->"
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(data), begin)
	table, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the codes", page)
	}
	if *update {
		if err := os.WriteFile(page, []byte(head+begin+CodesTable()+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if table != CodesTable() {
		t.Errorf("the table of codes in %s is not current; run go test ./gateway -run Codes -update", page)
	}
}

// Every code that the gateway's source writes is in the list: it is closed.
func TestCodesAreAllListed(t *testing.T) {
	t.Parallel()
	listed := map[string]bool{}
	for _, c := range Codes() {
		if listed[c.Name] && c.Name != "forbidden" {
			t.Errorf("%s is listed twice", c.Name)
		}
		listed[c.Name] = true
	}
	for _, file := range []string{"codes.go", "request.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit: // end{"code", ...}
				if id, ok := n.Type.(*ast.Ident); ok && id.Name == "end" {
					wantListed(t, listed, n.Elts[0])
					wantFirst(t, n.Elts[0], n.Elts[2])
				}
			case *ast.ValueSpec: // refusedX = "code"
				if strings.HasPrefix(n.Names[0].Name, "refused") {
					wantListed(t, listed, n.Values[0])
				}
			}
			return true
		})
	}
}

// wantFirst checks that the text of a close frame begins with its code, as clients are told.
func wantFirst(t *testing.T, code, text ast.Expr) {
	t.Helper()
	word, err := strconv.Unquote(code.(*ast.BasicLit).Value)
	reason, err2 := strconv.Unquote(text.(*ast.BasicLit).Value)
	if first, _, _ := strings.Cut(reason, ":"); err != nil || err2 != nil || first != word && word != "ended" {
		t.Errorf("the reason %q does not begin with the code %s", reason, word)
	}
}

// Every dialect closes with the code in the reason, but for the few that its protocol has
// words of its own for, and with the status of the list, but where its protocol has another.
func TestClosingsKeepTheirCodes(t *testing.T) {
	t.Parallel()
	own := map[string]string{ // words, by dialect and code
		"deepgram ended":        "",
		"deepgram idle_timeout": "Deepgram did not receive audio data or a text message within the timeout window.",
	}
	paths := map[string]string{
		"mediajson": "/transcribe?sendBack=true", "deepgram": "/v1/listen?encoding=linear16&sample_rate=16000",
		"openai": "/v1/realtime?intent=transcription", "plain": "/stream",
	}
	for _, d := range dialects(Config{}.withDefaults()) {
		conv, _, refusal := d.Open(httptest.NewRequest("GET", paths[d.Name()], nil))
		if refusal != nil {
			t.Fatalf("%s: %+v", d.Name(), refusal)
		}
		for _, c := range Codes() {
			text, ok := strings.CutPrefix(c.Answer, "close ")
			if !ok {
				continue
			}
			status, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			got := conv.Closing(dialect.Closing{Code: c.Name, Status: websocket.StatusCode(status), Text: c.Name + ": why"})
			words, has := own[d.Name()+" "+c.Name]
			if !has {
				words = c.Name
			}
			if !strings.Contains(got.Text, words) || got.Code != c.Name {
				t.Errorf("%s closes %s with %d %q", d.Name(), c.Name, got.Status, got.Text)
			}
			if int(got.Status) != status && d.Name() != "deepgram" {
				t.Errorf("%s closes %s with %d, the list says %d", d.Name(), c.Name, got.Status, status)
			}
		}
	}
}

// What a dialect closes with at once is in the list too.
func TestClosedAtOnceHasACode(t *testing.T) {
	t.Parallel()
	closed := 0
	for _, d := range dialects(Config{}.withDefaults()) {
		for _, query := range []string{"sendBack=true&provider=nobody", "sendBack=true&provider=openai", "encoding=mp3", "engine=nobody", "intent=transcription&model=x", "intent=x"} {
			_, req, refusal := d.Open(httptest.NewRequest("GET", d.Path()+"?"+query, nil))
			listed := func(code string) bool {
				return slices.ContainsFunc(Codes(), func(c Code) bool { return c.Name == code })
			}
			if refusal != nil && refusal.Code != "" && !listed(refusal.Code) {
				t.Errorf("%s?%s: refused with %q", d.Path(), query, refusal.Code)
			}
			if req.Close == nil {
				continue
			}
			closed++
			if !listed(req.Close.Code) {
				t.Errorf("%s?%s: closed with %q, which is not in the list", d.Path(), query, req.Close.Code)
			}
		}
	}
	if closed == 0 {
		t.Error("nobody was closed")
	}
}

func wantListed(t *testing.T, listed map[string]bool, e ast.Expr) {
	t.Helper()
	code, err := strconv.Unquote(e.(*ast.BasicLit).Value)
	if err != nil || !listed[code] {
		t.Errorf("code %s is not in the list (%v)", code, err)
	}
}
