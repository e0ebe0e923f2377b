package oracle

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
)

//go:embed cpython.py
var cpythonScript string

// cpython is one Python process that answers for message after message.
type cpython struct {
	mu  sync.Mutex
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startCPython returns nil if there is no python3.
func startCPython() (*cpython, error) {
	path, err := exec.LookPath("python3")
	if err != nil {
		return nil, nil
	}
	c := &cpython{cmd: exec.Command(path, "-c", cpythonScript)}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReaderSize(out, 1<<20)
	return c, c.cmd.Start()
}

func (c *cpython) facts(raw []byte) (facts, []string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := fmt.Fprintf(c.in, "%d\n%s", len(raw), raw); err != nil {
		return facts{}, nil, err
	}
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return facts{}, nil, err
	}
	var answer struct {
		facts
		Defects []string `json:"defects"`
		Error   string   `json:"error"`
	}
	if err := json.Unmarshal(line, &answer); err != nil {
		return facts{}, nil, err
	}
	if answer.Error != "" {
		return facts{}, nil, errors.New(answer.Error)
	}
	return answer.facts, answer.Defects, nil
}

// close ends the process and waits for it.
func (c *cpython) close() error {
	err := c.in.Close()
	return errors.Join(err, c.cmd.Wait())
}
