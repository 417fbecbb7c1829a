package config

//go:generate go test -run ^TestGenerated$ -count=1 . -update
