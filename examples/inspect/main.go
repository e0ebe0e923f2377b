// Inspect tells what is in messages: for each file one JSON line with the
// addresses, the structure, every leaf with the digest of its content, and the
// fields of a delivery report. It shows how mime and dsn are used together.
//
//	go run ./examples/inspect FILE|DIRECTORY...
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: inspect FILE|DIRECTORY...")
		os.Exit(2)
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for _, root := range os.Args[1:] {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				report(out, path, nil, err)
			} else if !d.IsDir() {
				inspectFile(out, path)
			}
			return nil
		})
	}
}

func inspectFile(w io.Writer, path string) {
	f, err := os.Open(path)
	if err != nil {
		report(w, path, nil, err)
		return
	}
	defer f.Close()
	facts, err := inspect(f)
	if facts != nil {
		err = nil // whatever the message is like, what was read is told
	}
	report(w, path, facts, err)
}

// report writes one line.
func report(w io.Writer, path string, f *facts, err error) {
	line := struct {
		File  string `json:"file"`
		Facts *facts `json:"facts,omitempty"`
		Error string `json:"error,omitempty"`
	}{File: path, Facts: f}
	if err != nil {
		line.Error = err.Error()
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(line); err != nil {
		fmt.Fprintln(os.Stderr, "inspect:", err)
		os.Exit(1)
	}
}
