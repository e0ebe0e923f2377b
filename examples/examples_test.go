// Package examples_test runs the example programs as a user does.
package examples_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// program builds an example once and gives the path of its binary.
var program = func() func(t *testing.T, name string) string {
	var mu sync.Mutex
	built := map[string]string{}
	return func(t *testing.T, name string) string {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if built[name] == "" {
			bin := filepath.Join(binDir, name)
			out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./"+name).CombinedOutput()
			require.NoError(t, err, "%s", out)
			built[name] = bin
		}
		return built[name]
	}
}()

var binDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "maildriver-examples-")
	if err != nil {
		panic(err)
	}
	binDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

type output struct {
	status         int
	stdout, stderr string
}

func run(t *testing.T, name string, args ...string) output {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t, name), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return output{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func writeProfile(t *testing.T, driver string, parameters map[string]any) string {
	t.Helper()
	data, err := json.Marshal(map[string]any{"name": "test", "driver": driver, "parameters": parameters})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "profile.json")
	require.NoError(t, os.WriteFile(file, data, 0o600))
	return file
}

type event struct {
	ID          string            `json:"id"`
	Redelivered bool              `json:"redelivered"`
	Fields      map[string]string `json:"fields"`
	Files       []string          `json:"files"`
}

func events(t *testing.T, stdout string) []event {
	t.Helper()
	var list []event
	sc := bufio.NewScanner(strings.NewReader(stdout))
	sc.Buffer(nil, 64<<20)
	for sc.Scan() {
		var ev event
		require.NoError(t, json.Unmarshal(sc.Bytes(), &ev), "%s", sc.Text())
		list = append(list, ev)
	}
	require.NoError(t, sc.Err())
	return list
}

func spoolFiles(t *testing.T, root string) []string {
	t.Helper()
	var files []string
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	}))
	return files
}

func TestQuickstartShowsTheWholeJob(t *testing.T) {
	start := time.Now()
	out := run(t, "quickstart")
	require.Equal(t, 0, out.status, out.stderr)
	for _, want := range []string{
		"(killed here)", "(again, attempt 2)", "Rechnung März – Übersicht.pdf", "請求書.csv", "EmbeddedMsg1.xml", "cid:pixel@shop.example",
		"bounce  gone@example.net failed 5.1.1", "1 to loopback, 1 to failed", "In-Reply-To: <", "References: <",
	} {
		assert.Contains(t, out.stdout, want)
	}
	assert.Equal(t, 1, strings.Count(out.stdout, "Out of office"), "the loop is kept out")
	t.Logf("took %v", time.Since(start))
}

func TestPollTellsEveryFaultOfAConfiguration(t *testing.T) {
	file := writeProfile(t, "POP3", map[string]any{"POP3 Server Port": 99999, "Colour": "red", "PASSWORD": "hunter2", "POP3 Server": []int{1}})
	out := run(t, "poll", "-profile", file)
	assert.Equal(t, 2, out.status)
	for _, want := range []string{"Colour", "POP3 Server Port", "POP3 Account Name", "Spool Directory", `"POP3 Server"`} {
		assert.Contains(t, out.stderr, want)
	}
	assert.NotContains(t, out.stderr, "hunter2")
	assert.Empty(t, out.stdout)
	assert.Equal(t, 2, run(t, "poll").status)
	assert.Equal(t, 2, run(t, "poll", "-profile", "/nowhere").status)
	assert.Equal(t, 2, run(t, "send", "-profile", file, "x.eml").status)
}

// lab reads the addresses of the servers of the lab.
func lab(t *testing.T) map[string]string {
	t.Helper()
	dir := os.Getenv("LAB_DIR")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "maillab")
	}
	data, err := os.ReadFile(filepath.Join(dir, "lab.env"))
	if err != nil {
		t.Skipf("the lab is not up: %v", err)
	}
	env := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			env[k] = v
		}
	}
	return env
}

func labCommand(t *testing.T, args ...string) string {
	t.Helper()
	shared := os.Getenv("MAILDRIVER_SHARED")
	if shared == "" {
		shared = "../../shared"
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(shared, "lab", "lab"), args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return strings.TrimSpace(string(out))
}

func address(t *testing.T, env map[string]string, name string) (host, port string) {
	t.Helper()
	host, port, ok := strings.Cut(env[name], ":")
	require.True(t, ok, name)
	return host, port
}

func popProfile(t *testing.T, env map[string]string, user, spool string, more map[string]any) map[string]any {
	t.Helper()
	host, port := address(t, env, "LAB_POP3S")
	p := map[string]any{
		"POP3 Server": host, "POP3 Server Port": port, "Enable SSL for POP3": "TRUE", "CACertFileName": env["LAB_CA"],
		"POP3 Account Name": user, "POP3 Account Password": user + "-secret", "Spool Directory": spool,
	}
	maps.Copy(p, more)
	return p
}

func TestLabDrainOfTwoThousandMails(t *testing.T) {
	env := lab(t)
	labCommand(t, "reset", "u1")
	labCommand(t, "fill", "u1", "2000")
	root := filepath.Join(t.TempDir(), "spool")
	out := run(t, "poll", "-drain", "-profile", writeProfile(t, "POP3", popProfile(t, env, "u1", root, map[string]any{"POP3 Batch Size": 100})))
	require.Equal(t, 0, out.status, out.stderr)
	list := events(t, out.stdout)
	require.Len(t, list, 2000)
	ids, named := map[string]bool{}, map[string]bool{}
	for _, ev := range list {
		ids[ev.ID] = true
		assert.False(t, ev.Redelivered)
		for _, f := range ev.Files {
			named[f] = true
		}
	}
	assert.Len(t, ids, 2000)
	assert.Equal(t, "0", labCommand(t, "count", "u1"))
	files := spoolFiles(t, root)
	for _, f := range files {
		assert.True(t, named[f], "%s is named by no line", f)
	}
	assert.Len(t, files, len(named), "and every file that a line names is there")
}

func TestLabDiscardLeavesNothing(t *testing.T) {
	env := lab(t)
	labCommand(t, "reset", "u2")
	labCommand(t, "fill", "u2", "40")
	root := filepath.Join(t.TempDir(), "spool")
	out := run(t, "poll", "-drain", "-discard", "-profile", writeProfile(t, "POP3", popProfile(t, env, "u2", root, map[string]any{"Delete Processed Messages": "TRUE"})))
	require.Equal(t, 0, out.status, out.stderr)
	assert.Len(t, events(t, out.stdout), 40)
	assert.Empty(t, spoolFiles(t, root))
}

func TestLabRoundTripAndBounce(t *testing.T) {
	env := lab(t)
	labCommand(t, "reset", "u3")
	host, port := address(t, env, "LAB_SUBMISSION")
	pair := popProfile(t, env, "u3", filepath.Join(t.TempDir(), "spool"), map[string]any{
		"SMTP Server": host, "SMTP Server Port": port, "Enable TLS for SMTP": true, "SMTP Account Name": "u3", "SMTP Account Password": "u3-secret",
		"From Address": "Desk <u3@example.com>", "SMTP Delivery Status Notification": "FAILURE",
	})
	file := writeProfile(t, "Internet SMTP/POP3 Server", pair)
	body := "line one\r\n.dot\r\n..two\r\n.\r\nGr\xc3\xbc\xc3\x9fe\r\n \r\n\r\n" + strings.Repeat("x", 900) + "\r\n"
	dir := t.TempDir()
	trip, lost := filepath.Join(dir, "trip.eml"), filepath.Join(dir, "lost.eml")
	require.NoError(t, os.WriteFile(trip, []byte("From: u3@example.com\r\nTo: u3@example.com\r\nSubject: trip\r\nMessage-ID: <trip@example.com>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"+body), 0o600))
	require.NoError(t, os.WriteFile(lost, []byte("From: u3@example.com\r\nTo: nobody@example.com\r\nSubject: lost\r\nMessage-ID: <lost+1@example.com>\r\n\r\nx\r\n"), 0o600))
	out := run(t, "send", "-profile", file, trip, lost)
	require.Equal(t, 0, out.status, out.stderr)
	assert.Equal(t, 2, strings.Count(out.stdout, `"outcome":"accepted","code":250,"enhanced":"2.0.0"`), out.stdout)

	var list []event
	require.Eventually(t, func() bool {
		out := run(t, "poll", "-drain", "-profile", file)
		require.Equal(t, 0, out.status, out.stderr)
		list = append(list, events(t, out.stdout)...)
		return len(list) >= 2
	}, 30*time.Second, 200*time.Millisecond, "trip and bounce come back")
	found := 0
	for _, ev := range list {
		if ev.Fields["Subject"] == "trip" {
			found++
			raw, err := os.ReadFile(ev.Files[len(ev.Files)-1])
			require.NoError(t, err)
			_, got, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
			assert.Equal(t, body, string(got), "byte for byte below the header")
			continue
		}
		found++
		for name, want := range map[string]string{
			"IsDeliveryStatusNotification": "True", "DsnAction": "failed", "DsnStatus": "5.1.1",
			"DsnFinalRecipient": "nobody@example.com", "DsnOriginalEnvelopeId": "lost+1@example.com",
		} {
			assert.Equal(t, want, ev.Fields[name], name)
		}
	}
	assert.Equal(t, 2, found)
}

func TestLabSendTellsEachRecipientsFate(t *testing.T) {
	env := lab(t)
	host, port := address(t, env, "LAB_SUBMISSION")
	file := writeProfile(t, "SMTP", map[string]any{
		"SERVER": host, "PORT": port, "SECURITY": "explicit", "USERNAME": "u3", "PASSWORD": "u3-secret", "CACertFileName": env["LAB_CA"],
	})
	eml := filepath.Join(t.TempDir(), "m.eml")
	require.NoError(t, os.WriteFile(eml, []byte("From: u3@example.com\r\nSubject: x\r\n\r\nx\r\n"), 0o600))
	for to, want := range map[string]string{
		"u4": "accepted", "tempfail": "deferred", "reject": "rejected", "reject,u4": "partly", "drop": "deferred",
	} {
		args := []string{"-profile", file}
		for _, a := range strings.Split(to, ",") {
			args = append(args, "-to", a+"@example.com")
		}
		out := run(t, "send", append(args, eml)...)
		assert.Contains(t, out.stdout, fmt.Sprintf(`"outcome":"%s","code":`, want), to)
		if want == "accepted" {
			assert.Equal(t, 0, out.status)
		} else {
			assert.Equal(t, 1, out.status)
		}
	}
	labCommand(t, "reset", "u4")
}
