package ews

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sharedDir is the folder that is shared with other projects; the test is
// skipped without it.
func sharedDir(t testing.TB, parts ...string) string {
	t.Helper()
	root := os.Getenv("MAILDRIVER_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "shared")
	}
	dir := filepath.Join(append([]string{root, "exchange"}, parts...)...)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("%s is not there; MAILDRIVER_SHARED names the folder that has exchange/", dir)
	}
	return dir
}

// summary is what an answer says, as one line.
func summary(body []byte) (string, error) {
	d := newDocument(newSource(bytes.NewReader(body), maxAnswer))
	var b strings.Builder
	a, err := readAnswer(d, func(i int, s xml.StartElement) error {
		n, err := d.element(s)
		if err != nil {
			return err
		}
		r := replyOf(n)
		fmt.Fprintf(&b, " [%s %s %q]", r.class, r.code, r.text)
		return nil
	})
	if a.fault != nil {
		fmt.Fprintf(&b, " fault %s %q", a.fault.code, a.fault.text)
	}
	return a.build.String() + b.String(), err
}

// recorded reads the same out of the text, without an XML parser.
func recorded(body string) string {
	attr := func(name string) string {
		m := regexp.MustCompile(` ` + name + `="(\d+)"`).FindStringSubmatch(body)
		if m == nil {
			return "0"
		}
		return m[1]
	}
	unescape := strings.NewReplacer("&lt;", "<", "&gt;", ">", "&quot;", `"`, "&apos;", "'", "&amp;", "&")
	out := attr("MajorVersion") + "." + attr("MinorVersion") + "." + attr("MajorBuildNumber")
	for _, m := range regexp.MustCompile(`(?s)ResponseMessage ResponseClass="(\w+)">(.*?)ResponseMessage>`).FindAllStringSubmatch(body, -1) {
		code := regexp.MustCompile(`ResponseCode>(\w+)<`).FindStringSubmatch(m[2])
		text := regexp.MustCompile(`(?s)MessageText>([^<]*)<`).FindStringSubmatch(m[2])
		said := ""
		if text != nil {
			said = strings.TrimSpace(unescape.Replace(text[1]))
		}
		out += fmt.Sprintf(" [%s %s %q]", m[1], code[1], said)
	}
	if strings.Contains(body, ":Fault>") {
		code := regexp.MustCompile(`ResponseCode[^>]*>(\w+)<`).FindStringSubmatch(body)
		text := regexp.MustCompile(`(?s)Message [^>]*>([^<]*)<`).FindStringSubmatch(body)
		out += fmt.Sprintf(" fault %s %q", code[1], strings.TrimSpace(unescape.Replace(text[1])))
	}
	return out
}

// bodies gives the recorded answers that have one.
func bodies(t *testing.T) map[string][]byte {
	t.Helper()
	dir := sharedDir(t, "traces")
	files, err := filepath.Glob(filepath.Join(dir, "ews", "*", "*.txt"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	list := map[string][]byte{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		head, body, ok := bytes.Cut(raw, []byte("\n\n"))
		require.True(t, ok, file)
		if len(bytes.TrimSpace(body)) > 0 && !bytes.Contains(head, []byte(" 401 ")) {
			list[filepath.Base(filepath.Dir(file))+"/"+filepath.Base(file)] = body
		}
	}
	for _, name := range []string{"resolve_names_no_results_2013_german.xml", "get_item_calendaritem_2013.xml"} {
		body, err := os.ReadFile(filepath.Join(dir, "ews-cpp", name))
		require.NoError(t, err)
		list[name] = body
	}
	return list
}

// E2: what was recorded is read as it was recorded, whatever the language.
func TestE2RecordedAnswers(t *testing.T) {
	t.Parallel()
	list := bodies(t)
	assert.Len(t, list, 25)
	for name, body := range list {
		got, err := summary(body)
		require.NoError(t, err, name)
		assert.Equal(t, recorded(string(body)), got, name)
	}
	german, err := summary(list["resolve_names_no_results_2013_german.xml"])
	require.NoError(t, err)
	assert.Contains(t, german, "15.0.847 [Error ErrorNameResolutionNoResults ")
	fault, err := summary(list["Exchange2007_SP1/create_folder_with_invalid_distinguished_parent_id.1.txt"])
	require.NoError(t, err)
	assert.Contains(t, fault, "fault ErrorSchemaValidation")
}

// TestRecordedItem reads an answer with an item that is no message.
func TestRecordedItem(t *testing.T) {
	t.Parallel()
	body, err := os.ReadFile(filepath.Join(sharedDir(t, "traces"), "ews-cpp", "get_item_calendaritem_2013.xml"))
	require.NoError(t, err)
	d := newDocument(newSource(bytes.NewReader(body), maxAnswer))
	_, err = readAnswer(d, func(_ int, s xml.StartElement) error {
		n, err := d.element(s)
		require.NoError(t, err)
		items := n.kid("Items").all()
		require.Len(t, items, 1)
		assert.Equal(t, "CalendarItem", items[0].name.Local)
		it, ok := itemOf(items[0])
		require.True(t, ok)
		assert.NotEmpty(t, it.key)
		return nil
	})
	require.NoError(t, err)
}

// rewrite writes a document anew: with prefixes made up by name, or, with "",
// with default namespaces alone, and with the attributes in reverse.
func rewrite(t *testing.T, body []byte, prefix string) []byte {
	t.Helper()
	var b bytes.Buffer
	names := map[string]string{}
	d := xml.NewDecoder(bytes.NewReader(body))
	// The prefixes are declared on each element: which one is in force where
	// is the parser's to know.
	open := func(n xml.Name) (tag, decl string) {
		if prefix == "" || n.Space == "" {
			return n.Local, ` xmlns="` + n.Space + `"`
		}
		if names[n.Space] == "" {
			names[n.Space] = prefix + strconv.Itoa(len(names))
		}
		return names[n.Space] + ":" + n.Local, ` xmlns:` + names[n.Space] + `='` + n.Space + `'`
	}
	for {
		tok, err := d.Token()
		if err == io.EOF {
			return b.Bytes()
		}
		require.NoError(t, err)
		switch tok := tok.(type) {
		case xml.StartElement:
			tag, decl := open(tok.Name)
			b.WriteString("<" + tag)
			for i := len(tok.Attr) - 1; i >= 0; i-- {
				if a := tok.Attr[i]; a.Name.Space == "" && a.Name.Local != "xmlns" {
					b.WriteString(" " + a.Name.Local + `="`)
					require.NoError(t, xml.EscapeText(&b, []byte(a.Value)))
					b.WriteString(`"`)
				}
			}
			b.WriteString(decl + "\n>")
		case xml.EndElement:
			tag, _ := open(tok.Name)
			b.WriteString("</" + tag + " >")
		case xml.CharData:
			require.NoError(t, xml.EscapeText(&b, tok))
			b.WriteString("<!-- nothing -->")
		}
	}
}

// E3: prefixes, default namespaces and the order of attributes change nothing.
func TestE3Prefixes(t *testing.T) {
	t.Parallel()
	for name, body := range bodies(t) {
		want, err := summary(body)
		require.NoError(t, err)
		for _, prefix := range []string{"", "q", "soap", "xs"} {
			got, err := summary(rewrite(t, body, prefix))
			require.NoError(t, err, "%s with %q", name, prefix)
			assert.Equal(t, want, got, "%s with %q", name, prefix)
		}
	}
}
