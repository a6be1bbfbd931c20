"""Test kit for workflows: `TestEngine`."""

from penstock.testing.engine import TestEngine as TestEngine
