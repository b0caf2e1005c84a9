// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title The token of the local chain
/// @notice A plain ERC-20 whose whole supply belongs to one holder (the faucet) from the start; nobody can mint.
/// A production farm names an ordinary ERC-20 instead: no fee on transfer, no rebasing, no callbacks.
contract RenderToken is ERC20 {
    /// @param holder who gets all of it
    /// @param supply in the smallest unit (18 decimals)
    constructor(address holder, uint256 supply) ERC20("Render Token", "RND") {
        _mint(holder, supply);
    }
}
