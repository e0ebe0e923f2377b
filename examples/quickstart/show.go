package main

import (
	"fmt"
	"strings"

	"github.com/maildriver/maildriver/driver"
)

func title(s string) { fmt.Printf("\n== %s\n\n", s) }

// show prints an event as a person wants to read it.
func show(ev *driver.Event) {
	again := ""
	if ev.Redelivered {
		again = fmt.Sprintf("  (again, attempt %d)", ev.Attempt)
	}
	fmt.Printf("  %s%s\n", ev.Subject, again)
	fmt.Printf("    event   %s\n", ev.ID)
	fmt.Printf("    from    %s <%s>\n", ev.SenderName, ev.SenderAddress)
	if text := firstLine(ev.Text); text != "" {
		fmt.Printf("    text    %s\n", text)
	}
	if ev.HTML != "" {
		fmt.Printf("    html    %s\n", firstLine(ev.HTML))
	}
	if r := ev.DSN; r != nil {
		if p := r.Primary(); p != nil {
			fmt.Printf("    bounce  %s %s %s\n", p.FinalRecipient.Value, p.Action, p.Status)
		}
	}
	for _, f := range ev.Files {
		note := ""
		if f.Supplemental {
			note = ", made by the driver"
		}
		fmt.Printf("    file    %s (%s/%s, %d bytes%s)\n", f.Name, f.Type, f.Subtype, f.Size, note)
	}
	for _, d := range ev.Defects {
		fmt.Printf("    defect  %v\n", d)
	}
	fmt.Println()
}

func firstLine(s string) string {
	line, rest, _ := strings.Cut(strings.TrimSpace(s), "\n")
	line = strings.TrimSpace(line)
	if rest != "" {
		line += " ..."
	}
	return line
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(strings.ReplaceAll(s, "\r\n", "\n"), "\n"), "\n", "\n    ")
}
