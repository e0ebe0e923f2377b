//go:build race

package imap

const underRace = true
