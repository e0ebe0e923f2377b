package ews

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/ews/ewstest"
)

// errNoJudge says that the requests cannot be held against the schema here.
var errNoJudge = errors.New("no schema, or no xmllint (Debian package libxml2-utils)")

// lint validates files against the schema.
func lint(files []string) (string, error) {
	root := os.Getenv("MAILDRIVER_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "shared")
	}
	schema := filepath.Join(root, "exchange", "schema", "messages.xsd")
	if _, err := os.Stat(schema); err != nil {
		return "", errNoJudge
	}
	if _, err := exec.LookPath("xmllint"); err != nil {
		return "", errNoJudge
	}
	for chunk := range slices.Chunk(files, 1000) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		out, err := exec.CommandContext(ctx, "xmllint", append([]string{"--noout", "--nonet", "--schema", schema}, chunk...)...).CombinedOutput()
		cancel()
		if err != nil {
			return string(out), err
		}
	}
	return "", nil
}

// validateRequests holds the recorded requests of a run against the schema. The
// same text is looked at once.
func validateRequests(dir string) error {
	all, err := filepath.Glob(filepath.Join(dir, "*.xml"))
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	var files []string
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if !seen[string(text)] {
			seen[string(text)] = true
			files = append(files, file)
		}
	}
	if len(files) == 0 {
		return nil
	}
	out, err := lint(files)
	if err == nil {
		fmt.Printf("E1: %d requests, %d of them different, are valid by the schema\n", len(all), len(files))
	}
	if err == nil || errors.Is(err, errNoJudge) {
		return nil
	}
	var bad []string
	for line := range strings.Lines(out) {
		if !strings.HasSuffix(strings.TrimSpace(line), "validates") {
			bad = append(bad, line)
		}
	}
	return fmt.Errorf("E1: requests that are not valid by the schema: %w\n%s", err, strings.Join(bad[:min(len(bad), 20)], ""))
}

// E1: every request of a full run, with all options, at every level, is valid by
// the schema.
func TestE1Schema(t *testing.T) {
	t.Parallel()
	if _, err := lint(nil); errors.Is(err, errNoJudge) {
		t.Skip(err)
	}
	dir := t.TempDir()
	for _, v := range [][3]int{{8, 1, 436}, {14, 0, 639}, {14, 2, 328}, {15, 1, 2507}} {
		srv := newServer(t, ewstest.WithVersion(v[0], v[1], v[2]), ewstest.WithRecording(dir), ewstest.WithPageLimit(2))
		srv.AddFolder("Inbox/Sub")
		srv.AddFolder("Inbox/Sub/Größe & <Co>")
		srv.AddFolder("MsgFolderRoot/Done")
		srv.AddFolder("MsgFolderRoot/Bad")
		srv.AddMailbox("shared@example.com")
		for i, opts := range [][]driver.Option{
			{WithDelete(HardDelete)},
			{WithDelete(SoftDelete), WithFolder("Inbox/Sub/Größe & <Co>")},
			{WithDelete(MoveToDeletedItems), WithUnread(true)},
			{WithMoveTo("MsgFolderRoot/Done"), WithFailedFolder("MsgFolderRoot/Bad"), WithSyncState(t.TempDir())},
			{WithMarkRead(), WithSyncState(t.TempDir())},
			{WithMailbox("shared@example.com"), WithSaveCopy("")},
			{WithImpersonation(PrimarySMTPAddress, ewstest.User), WithSaveCopy("Inbox/Sub")},
		} {
			folder := "Inbox"
			if i == 1 {
				folder = "Inbox/Sub/Größe & <Co>"
			}
			raw, _ := mails(3)
			for _, r := range raw {
				srv.AddItem(folder, ewstest.Item{Raw: r})
			}
			d := newDriver(t, srv, append([]driver.Option{inMemory(t)}, opts...)...)
			n := 0
			for range 2 {
				poll(t, d, driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
					if n++; n == 2 {
						return driver.Reject(errors.New("no"))
					}
					srv.ChangeItem(string(ev.MailID), false) // new change keys
					return nil
				}))
			}
			m := outgoing("To: a@example.com\r\nBcc: <&\"'>@example.com\r\n\r\nx", "a@example.com", "b&c'd@example.com")
			m.To[0].Notify = []string{"SUCCESS"}
			_, err := d.Send(t.Context(), m)
			require.NoError(t, err)
			if err := wait(t, d); err != nil {
				require.ErrorIs(t, err, errors.ErrUnsupported)
			}
			if v[0] > 14 {
				require.Eventually(t, func() bool { return len(srv.Operations("GetStreamingEvents")) > 0 }, 5*time.Second, time.Millisecond)
			}
			require.NoError(t, d.Close())
		}
		for name, since := range wellKnown {
			if levels := (build{v[0], v[1], v[2]}); since <= levels.level() {
				d := newDriver(t, srv, WithFolder(name))
				mb, err := d.open(t.Context(), &d.set)
				require.NoError(t, err)
				for _, err := range mb.List(t.Context()) {
					require.NoError(t, err)
				}
				require.NoError(t, mb.Close())
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.xml"))
	require.NoError(t, err)
	kinds := map[string]int{}
	for _, f := range files {
		op, _, _ := strings.Cut(filepath.Base(f), "-")
		kinds[op]++
	}
	for _, op := range []string{"FindItem", "FindFolder", "GetFolder", "SyncFolderItems", "GetItem", "DeleteItem", "MoveItem", "UpdateItem", "CreateItem", "Subscribe", "GetStreamingEvents", "Unsubscribe"} {
		assert.Positive(t, kinds[op], op)
	}
	require.NoError(t, validateRequests(dir))

	// The judge is awake: what is wrong is found.
	bad := filepath.Join(t.TempDir(), "bad.xml")
	require.NoError(t, os.WriteFile(bad, []byte(strings.Replace(string(deleteItems("HardDelete")([]itemID{{id: "x"}})(Exchange2016)), "HardDelete", "Shred", 1)), 0o600))
	_, err = lint([]string{bad})
	require.Error(t, err)
}

// The answers of the fake are valid as well: what passes here is not right by
// mistakes that both have in common. Contents of unusual kinds are left out.
func TestFakeAnswersBySchema(t *testing.T) {
	t.Parallel()
	if _, err := lint(nil); errors.Is(err, errNoJudge) {
		t.Skip(err)
	}
	srv := newServer(t)
	srv.AddFolder("Inbox/Sub")
	raw, _ := mails(2)
	srv.Add(raw...)
	item := srv.Items("Inbox")[0]
	ask := func(op []byte) string {
		body := string(envelopeStart(Exchange2016, &settings{})) + string(op) + envelopeEnd
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.PlainURL, strings.NewReader(body))
		require.NoError(t, err)
		req.SetBasicAuth(ewstest.User, ewstest.Password)
		resp, err := http.DefaultTransport.RoundTrip(req)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		_, inside, ok := strings.Cut(string(text), "<m:")
		require.True(t, ok, string(text))
		inside, _, _ = strings.Cut(inside, "</s:Body>")
		return "<m:" + inside
	}
	inbox := folderRef{known: "inbox"}
	ids := []itemID{{id: item.ID, key: item.ChangeKey}, {id: "x"}}
	dir := t.TempDir()
	var files []string
	for i, op := range [][]byte{
		getFolder(inbox)(Exchange2016), getFolder(folderRef{id: "x"})(Exchange2016), findFolder(inbox, 0)(Exchange2016), findItem(inbox, 0, 10)(Exchange2016),
		syncFolderItems(inbox, "", 10)(Exchange2016), getIDs(ids)(Exchange2016), getMIME(ids)(Exchange2016), markRead(ids)(Exchange2016),
		moveItems(folderRef{known: "drafts"})(ids)(Exchange2016), deleteItems("HardDelete")(ids)(Exchange2016), subscribe(inbox)(Exchange2016), unsubscribe("x")(Exchange2016),
	} {
		file := filepath.Join(dir, fmt.Sprintf("%d.xml", i))
		require.NoError(t, os.WriteFile(file, []byte(ask(op)), 0o600))
		files = append(files, file)
	}
	out, err := lint(files)
	require.NoError(t, err, out)
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}
