package maildriver_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/maildriver/maildriver"

// layers says which of our packages a package may import; the arrows of the
// architecture point one way.
var layers = map[string][]string{
	"mime":                   nil,
	"dsn":                    {"mime"},
	"spool":                  nil,
	"driver":                 {"spool", "mime", "dsn", "internal/clientcert"},
	"internal/life":          nil,
	"internal/clientcert":    nil,
	"internal/httpauth":      nil,
	"internal/netx":          {"driver", "internal/httpauth", "internal/ntlm", "internal/tlsbind"},
	"internal/ntlm":          nil,
	"internal/tlsbind":       nil,
	"internal/sasl":          {"driver", "internal/ntlm", "internal/tlsbind"},
	"internal/sasl/sasltest": {"internal/ntlm"},
	"pop3":                   {"driver", "spool", "mime", "internal/"},
	"smtp":                   {"driver", "spool", "mime", "internal/"},
	"pop3/pop3test":          {"internal/testcert", "internal/sasl/sasltest"},
	"imap":                   {"driver", "spool", "mime", "internal/"},
	"imap/imaptest":          {"internal/testcert", "internal/sasl/sasltest"},
	"ews":                    {"driver", "spool", "mime", "internal/"},
	"ews/ewstest":            {"internal/testcert"},
	"smtp/smtptest":          {"internal/testcert", "internal/sasl/sasltest"},
	"internal/httpx":         {"driver", "internal/"},
	"webdav":                 {"driver", "spool", "mime", "internal/"},
	"webdav/webdavtest":      {"internal/sasl/sasltest"},
	"driver/drivertest":      {"driver", "spool", "mime", "internal/"},
	"examples/inspect":       {"mime", "dsn", "driver"},
}

func TestImportsPointOneWay(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...").Output()
	require.NoError(t, err)
	seen := 0
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		pkg := strings.TrimPrefix(words[0], module+"/")
		allowed, known := layers[pkg]
		if !known {
			continue
		}
		seen++
		for _, imp := range words[1:] {
			assert.NotEqual(t, "github.com/emersion/go-message/charset", imp, "%s: that package sets a global hook", pkg)
			ours, ok := strings.CutPrefix(imp, module+"/")
			if !ok {
				if pkg == "spool" || pkg == "pop3/pop3test" || pkg == "smtp/smtptest" || pkg == "ews/ewstest" {
					assert.NotContains(t, strings.Split(imp, "/")[0], ".", "%s imports %s, but needs only the standard library", pkg, imp)
				}
				continue
			}
			fine := false
			for _, a := range allowed {
				fine = fine || ours == a || strings.HasSuffix(a, "/") && strings.HasPrefix(ours, a)
			}
			assert.True(t, fine, "%s must not import %s", pkg, ours)
		}
	}
	assert.Equal(t, len(layers), seen, "a package of the list is missing")
}

// TestNoForeignTypesInTheAPI keeps types of other modules out of exported
// declarations, so that a change there is none of ours.
func TestNoForeignTypesInTheAPI(t *testing.T) {
	for _, dir := range []string{"driver", "mime", "dsn", "spool", "pop3", "imap", "ews", "smtp", "ews/ewstest", "imap/imaptest", "pop3/pop3test", "smtp/smtptest", "webdav", "webdav/webdavtest"} {
		files, err := filepath.Glob(dir + "/*.go")
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			foreign := map[string]string{}
			for _, imp := range f.Imports {
				path := strings.Trim(imp.Path.Value, `"`)
				if !strings.Contains(strings.Split(path, "/")[0], ".") || strings.HasPrefix(path, module) {
					continue
				}
				name := path[strings.LastIndex(path, "/")+1:]
				if imp.Name != nil {
					name = imp.Name.Name
				}
				foreign[name] = path
			}
			for _, decl := range f.Decls {
				checkDecl(t, file, decl, foreign)
			}
		}
	}
}

func checkDecl(t *testing.T, file string, decl ast.Decl, foreign map[string]string) {
	t.Helper()
	look := func(n ast.Node) {
		ast.Inspect(n, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if id, ok := s.X.(*ast.Ident); ok && foreign[id.Name] != "" {
					t.Errorf("%s: exported declaration names %s.%s", file, foreign[id.Name], s.Sel.Name)
				}
			}
			return true
		})
	}
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && exportedReceiver(d) {
			look(d.Type)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if s, ok := spec.(*ast.TypeSpec); ok && s.Name.IsExported() {
				exportedOnly(s.Type, look)
			}
		}
	}
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	x := d.Recv.List[0].Type
	if star, ok := x.(*ast.StarExpr); ok {
		x = star.X
	}
	id, ok := x.(*ast.Ident)
	return !ok || id.IsExported()
}

// exportedOnly shows look the parts of a type that a user can name.
func exportedOnly(x ast.Expr, look func(ast.Node)) {
	s, ok := x.(*ast.StructType)
	if !ok {
		look(x)
		return
	}
	for _, f := range s.Fields.List {
		if len(f.Names) == 0 || f.Names[0].IsExported() {
			look(f.Type)
		}
	}
}
