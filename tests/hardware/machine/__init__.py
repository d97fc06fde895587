"""Tests of whole models on a platform."""
