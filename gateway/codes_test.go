package gateway

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
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

func wantListed(t *testing.T, listed map[string]bool, e ast.Expr) {
	t.Helper()
	code, err := strconv.Unquote(e.(*ast.BasicLit).Value)
	if err != nil || !listed[code] {
		t.Errorf("code %s is not in the list (%v)", code, err)
	}
}
