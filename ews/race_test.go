//go:build race

package ews

const underRace = true
