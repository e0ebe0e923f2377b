package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-message"

	"github.com/maildriver/maildriver/mime"
)

const (
	memoryChild = "MIME_MEMORY_CHILD" // "peer bytes file"
	// memoryGoal is what decoding may add to an idle process.
	memoryGoal = 32 << 20
)

func TestMain(m *testing.M) {
	if job := os.Getenv(memoryChild); job != "" {
		if err := memoryJob(job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// memoryJob decodes one attachment to a file and prints the highest resident
// size that this process had.
func memoryJob(job string) error {
	var name, file string
	var n int64
	if _, err := fmt.Sscan(job, &name, &n, &file); err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	switch {
	case n == 0: // idle
	case name == "maildriver":
		_, err = mime.Parse(bigMailReader(n), &fileSink{f})
	default:
		err = goMessageToFile(bigMailReader(n), f)
	}
	if err != nil {
		return err
	}
	status, err := os.Open("/proc/self/status")
	if err != nil {
		return err
	}
	defer status.Close()
	for s := bufio.NewScanner(status); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "VmHWM:"); ok {
			fmt.Println(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
		}
	}
	return nil
}

// A fileSink writes the attachment to a file.
type fileSink struct{ f *os.File }

func (s *fileSink) Begin(p *mime.Part) (io.Writer, error) {
	if p.Disposition == "attachment" {
		return s.f, nil
	}
	return nil, nil
}
func (s *fileSink) End(*mime.Part) error { return nil }

func goMessageToFile(r io.Reader, f *os.File) error {
	e, err := message.Read(r)
	if err != nil {
		return err
	}
	mr := e.MultipartReader()
	for {
		p, err := mr.NextPart()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if d, _, _ := p.Header.ContentDisposition(); d == "attachment" {
			if _, err := io.Copy(f, p.Body); err != nil {
				return err
			}
		}
	}
}

// TestMIMEMemory measures the peak of a process of its own.
func TestMIMEMemory(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("no /proc to read the resident size from")
	}
	peak := func(name string, n int64) int64 {
		file := filepath.Join(t.TempDir(), "big.bin")
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", memoryChild, name, n, file))
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			info, err := os.Stat(file)
			if err != nil || info.Size() < n*9/10 {
				t.Fatalf("%s: %v bytes of %d arrived (%v)", name, info.Size(), n, err)
			}
			_ = os.Remove(file)
		}
		var kb int64
		if _, err := fmt.Sscan(string(out), &kb); err != nil {
			t.Fatal(err)
		}
		return kb << 10
	}
	idle := peak("maildriver", 0)
	for _, name := range []string{"maildriver", "go-message"} {
		for _, n := range []int64{25 << 20, 200 << 20} {
			p := peak(name, n)
			t.Logf("%-10s %3d MiB attachment: %d KiB above idle", name, n>>20, (p-idle)>>10)
			if name == "maildriver" && p-idle > memoryGoal {
				t.Errorf("%d bytes above idle", p-idle)
			}
		}
	}
}
